#include "server/snapshot_request.h"

#include <fcntl.h>

#include <utility>
#include <vector>

#include "base/error.h"
#include "format/working_set.h"
#include "store/areas.h"
#include "store/store.h"

namespace lamina::server {
namespace {

std::string working_set_path(const SnapshotRequest& request) {
  return fmt::format("{}/{}", request.path, store::kWorkingSetName);
}

Result<Replay> read_replay(const SnapshotRequest& request, int directory,
                           std::uint64_t memory_bytes) {
  const std::string path = working_set_path(request);
  LAMINA_ASSIGN_OR_RETURN(os::OpenedFile file, open_working_set(request, directory));
  LAMINA_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes,
                          os::read_whole(file.fd.get(), format::max_working_set_bytes(), path));
  auto decoded = format::decode_working_set(bytes);
  if (!decoded) return std::unexpected(with_context(path, decoded.error()));
  if (decoded->memory_bytes != memory_bytes) {
    return fail(ErrorKind::kCorrupt, "'{}' is of {} bytes of memory, the snapshot of {}", path,
                decoded->memory_bytes, memory_bytes);
  }
  return Replay{{std::move(decoded->runs), request.populate == Populate::kAll}, std::move(file)};
}

/// With the directory of the request: a pin may have a working set that the snapshot which it
/// shares with other pins has not.
Result<Replay> read_replay_of(const SnapshotRequest& request, const Snapshot& snapshot) {
  const std::uint64_t memory_bytes = snapshot.opened.header.memory_bytes;
  if (!request.is_pinned) {
    return read_replay(request, snapshot.opened.directory.get(), memory_bytes);
  }
  LAMINA_ASSIGN_OR_RETURN(const os::Fd directory, store::open_in_store(request.path));
  return read_replay(request, directory.get(), memory_bytes);
}

}  // namespace

Result<Snapshot> read_snapshot(const std::string& path) {
  // Before the layers: if the arrival ends in between, they are whole.
  LAMINA_ASSIGN_OR_RETURN(const os::Fd directory, store::open_in_store(path));
  LAMINA_ASSIGN_OR_RETURN(auto arrival, store::arrival_of(directory.get(), path));
  LAMINA_ASSIGN_OR_RETURN(
      store::OpenSnapshot opened,
      store::open_snapshot(path, arrival ? engine::Checksums::kInFile : engine::Checksums::kLoad));
  Snapshot snapshot{path, std::move(opened), nullptr};
  if (!arrival) return snapshot;
  if (arrival->map.block_count() != snapshot.opened.header.mapping.block_count()) {
    return fail(ErrorKind::kCorrupt, "'{}' has {} blocks, what arrives for it {}", path,
                snapshot.opened.header.mapping.block_count(), arrival->map.block_count());
  }
  snapshot.arrival = std::make_shared<const store::Arrival>(std::move(*arrival));
  return snapshot;
}

Result<os::OpenedFile> open_working_set(const SnapshotRequest& request, int directory) {
  return os::open_regular(directory, store::kWorkingSetName, O_RDONLY, working_set_path(request));
}

Result<SnapshotFiles> read_files(const SnapshotRequest& request) {
  SnapshotFiles files;
  if (request.open == nullptr) {
    LAMINA_ASSIGN_OR_RETURN(files.snapshot, read_snapshot(request.path));
  }
  if (request.populate == Populate::kNone) return files;
  auto replay = read_replay_of(request, request.open ? *request.open : *files.snapshot);
  if (replay) {
    files.replay = std::move(*replay);
  } else {
    files.replay_failure = one_line(replay.error());
  }
  return files;
}

}  // namespace lamina::server
