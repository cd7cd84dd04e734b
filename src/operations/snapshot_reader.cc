#include <algorithm>
#include <array>
#include <cstring>

#include "base/block.h"
#include "base/contain.h"
#include "base/error.h"
#include "lamina/snapshot.h"
#include "operations/describe.h"
#include "store/snapshot_directory.h"

namespace lamina {

struct SnapshotReader::State {
  store::OpenSnapshot snapshot;
  SnapshotInfo info;
};

namespace {

using Block = std::array<std::byte, kBlockBytes>;

/// Reads part of one block.
Status read_part(const engine::Chain& chain, std::uint64_t block, std::size_t offset_in_block,
                 std::span<std::byte> part) {
  Block bytes;
  LAMINA_RETURN_IF_ERROR(
      chain.read(static_cast<std::uint32_t>(block), bytes, engine::Chain::Check::kChecksums));
  std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(offset_in_block), part.size(),
              part.begin());
  return {};
}

}  // namespace

Result<SnapshotReader> SnapshotReader::open(const std::string& path) {
  return contain("open the snapshot", [&]() -> Result<SnapshotReader> {
    LAMINA_ASSIGN_OR_RETURN(store::OpenSnapshot snapshot,
                            store::open_snapshot(path, engine::Checksums::kLoad));
    SnapshotInfo info = operations::describe_snapshot(snapshot, path);
    return SnapshotReader(
        std::make_shared<const State>(State{std::move(snapshot), std::move(info)}));
  });
}

const SnapshotInfo& SnapshotReader::info() const { return state_->info; }

std::uint64_t SnapshotReader::memory_bytes() const { return state_->info.memory_bytes; }

Status SnapshotReader::read(std::uint64_t offset_bytes, std::span<std::byte> buffer) const {
  return contain("read", [&]() -> Status {
    if (offset_bytes > memory_bytes() || buffer.size() > memory_bytes() - offset_bytes) {
      return fail(ErrorKind::kUsage, "'{}' has {} bytes of memory: no {} at {}", state_->info.path,
                  memory_bytes(), buffer.size(), offset_bytes);
    }
    const engine::Chain& chain = state_->snapshot.chain;
    std::uint64_t block = offset_bytes / kBlockBytes;
    std::size_t before = offset_bytes % kBlockBytes;
    while (!buffer.empty()) {
      std::size_t count = 0;
      if (before == 0 && buffer.size() >= kBlockBytes) {
        count = buffer.size() / kBlockBytes * kBlockBytes;
        LAMINA_RETURN_IF_ERROR(chain.read(static_cast<std::uint32_t>(block), buffer.first(count),
                                          engine::Chain::Check::kChecksums));
      } else {
        count = std::min<std::size_t>(buffer.size(), kBlockBytes - before);
        LAMINA_RETURN_IF_ERROR(read_part(chain, block, before, buffer.first(count)));
      }
      block += (before + count) / kBlockBytes;
      before = 0;
      buffer = buffer.subspan(count);
    }
    return {};
  });
}

}  // namespace lamina
