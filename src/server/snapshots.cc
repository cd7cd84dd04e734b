#include "server/snapshots.h"

#include <fcntl.h>

#include <algorithm>

#include "base/block.h"
#include "base/error.h"
#include "format/working_set.h"
#include "sys/directory.h"
#include "sys/file.h"
#include "sys/lock.h"

namespace lamina::server {
namespace {

Result<format::WorkingSet> read_working_set(const store::OpenSnapshot& snapshot) {
  const std::string path = fmt::format("{}/{}", snapshot.path, store::kWorkingSetName);
  LAMINA_ASSIGN_OR_RETURN(
      const sys::OpenedFile opened,
      sys::open_regular(snapshot.directory.get(), store::kWorkingSetName, O_RDONLY, path));
  LAMINA_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes,
                          sys::read_whole(opened.fd.get(), format::max_working_set_bytes(), path));
  auto decoded = format::decode_working_set(bytes);
  if (!decoded) return std::unexpected(with_context(path, decoded.error()));
  if (decoded->memory_bytes != snapshot.header.memory_bytes) {
    return fail(ErrorKind::kCorrupt, "'{}' is of {} bytes of memory, the snapshot of {}", path,
                decoded->memory_bytes, snapshot.header.memory_bytes);
  }
  return decoded;
}

/// Puts the file in its place by a rename. The directory is looked up anew: a merge may have
/// replaced it meanwhile, and kept its pause.
Status write_working_set(const ServedSnapshot& snapshot, std::span<const std::byte> bytes) {
  LAMINA_ASSIGN_OR_RETURN(const store::OpenSnapshot now, store::open_snapshot(snapshot.path));
  if (now.pause_id != snapshot.pause_id) {
    return fail(ErrorKind::kFailed, "'{}' is another pause by now", snapshot.path);
  }
  const int directory = now.directory.get();
  LAMINA_ASSIGN_OR_RETURN(const bool locked, sys::try_lock(directory, snapshot.path));
  if (!locked) return fail(ErrorKind::kBusy, "'{}' is being written", snapshot.path);
  const std::string name = store::kNewWorkingSetName;
  LAMINA_RETURN_IF_ERROR(sys::remove_file(directory, name, snapshot.path));
  LAMINA_RETURN_IF_ERROR(sys::write_new_file(directory, name, bytes, snapshot.path + "/" + name));
  return sys::rename_over(directory, name, directory, store::kWorkingSetName, snapshot.path);
}

}  // namespace

Result<std::uint32_t> Snapshots::open(const std::string& path, std::vector<std::string>& notes) {
  LAMINA_ASSIGN_OR_RETURN(store::OpenSnapshot opened, store::open_snapshot(path));
  LAMINA_ASSIGN_OR_RETURN(const std::string absolute, sys::real_path(path));
  pager::PopulatePlan plan;
  plan.rest = populate_ == Populate::kAll;
  if (populate_ != Populate::kNone) {
    auto working_set = read_working_set(opened);
    if (working_set) {
      plan.first = std::move(working_set->runs);
    } else if (populate_ == Populate::kWorkingSet) {
      notes.push_back(
          fmt::format("'{}' has no working set to replay: {}", path, working_set.error().message));
    }
  }
  ServedSnapshot facts{absolute, opened.pause_id, opened.header.memory_bytes};
  snapshots_.push_back(std::make_unique<Snapshot>(Snapshot{
      std::move(facts), std::move(opened), std::move(plan), populate_ != Populate::kNone}));
  return size() - 1;
}

Result<std::uint32_t> Snapshots::find(const pager::VmRecord& record,
                                      std::vector<std::string>& notes) {
  const auto fits = [&](const Snapshot& snapshot) {
    return snapshot.facts.pause_id == record.pause_id &&
           snapshot.facts.memory_bytes == record.memory_bytes;
  };
  for (std::uint32_t i = 0; i < size(); ++i) {
    if (at(i).facts.path == record.snapshot && fits(at(i))) return i;
  }
  LAMINA_ASSIGN_OR_RETURN(const std::uint32_t index, open(record.snapshot, notes));
  if (fits(at(index))) return index;
  snapshots_.pop_back();
  return fail(ErrorKind::kFailed, "'{}' is another pause now than {}, which it was resumed from",
              record.snapshot, record.pause_id.to_string());
}

Status save_working_set(const Snapshot& snapshot, const pager::VmState& vm) {
  format::WorkingSet working_set;
  working_set.memory_bytes = snapshot.facts.memory_bytes;
  if (snapshot.populates) working_set.runs = snapshot.plan.first;
  const std::uint64_t count =
      std::min<std::uint64_t>(vm.recorded_count().get(), pager::kMaxRecordedBlocks);
  // Threads that fault on one page at once are noted once each.
  std::vector<bool> noted(blocks_for(working_set.memory_bytes), false);
  for (const std::uint32_t block : vm.recorded_blocks().first(count)) {
    if (block >= noted.size() || noted[block]) continue;
    noted[block] = true;
    std::vector<format::BlockRun>& runs = working_set.runs;
    if (!runs.empty() && runs.back().guest_block + runs.back().block_count == block) {
      ++runs.back().block_count;
    } else if (runs.size() < format::kMaxWorkingSetRuns) {
      runs.push_back({block, 1});
    }
  }
  return write_working_set(snapshot.facts, format::encode_working_set(working_set));
}

}  // namespace lamina::server
