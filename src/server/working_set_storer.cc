#include "server/working_set_storer.h"

#include <fcntl.h>

#include <algorithm>
#include <iterator>
#include <span>
#include <unordered_set>
#include <utility>

#include "base/block.h"
#include "base/contain.h"
#include "base/error.h"
#include "format/working_set.h"
#include "os/directory.h"
#include "os/file.h"
#include "os/lock.h"
#include "os/owner.h"
#include "os/thread.h"
#include "store/snapshot_directory.h"

namespace lamina::server {
namespace {

format::WorkingSet working_set_of(const Recording& recording) {
  format::WorkingSet working_set;
  working_set.memory_bytes = recording.memory_bytes;
  if (recording.replayed) working_set.runs = recording.replayed->first;
  // Threads that fault on one page at once are noted once each. (What is kept of that is in
  // proportion to what was recorded, not to the memory.)
  std::unordered_set<std::uint32_t> noted;
  const std::uint64_t memory_blocks = blocks_for(recording.memory_bytes);
  for (const std::uint32_t block : recording.blocks) {
    if (block >= memory_blocks || !noted.insert(block).second) continue;
    std::vector<BlockRun>& runs = working_set.runs;
    if (!runs.empty() && runs.back().end() == block) {
      ++runs.back().count;
    } else if (runs.size() < format::kMaxWorkingSetRuns) {
      runs.push_back({block, 1});
    }
  }
  return working_set;
}

}  // namespace

/// Puts the file in its place by a rename. The directory is looked up anew: a merge may have
/// replaced it meanwhile, and kept its pause.
Status store_recording(const Recording& recording) {
  const std::string& path = recording.snapshot;
  if (path.empty()) return fail(ErrorKind::kFailed, "the snapshot of the VM has no name");
  LAMINA_ASSIGN_OR_RETURN(const store::OpenSnapshot now,
                          store::open_snapshot(path, engine::Checksums::kSkip));
  if (now.pause_id != recording.pause_id) {
    return fail(ErrorKind::kFailed, "'{}' is another pause by now", path);
  }
  const std::vector<std::byte> bytes = format::encode_working_set(working_set_of(recording));
  const int directory = now.directory.get();
  LAMINA_RETURN_IF_ERROR(os::check_owner(directory, path));
  LAMINA_ASSIGN_OR_RETURN(const bool locked, os::try_lock(directory, path));
  if (!locked) return fail(ErrorKind::kBusy, "'{}' is being written", path);
  return os::replace_file(directory, store::kNewWorkingSetName, store::kWorkingSetName, bytes,
                          path);
}

Result<std::unique_ptr<WorkingSetStorer>> WorkingSetStorer::start() {
  std::unique_ptr<WorkingSetStorer> started(new WorkingSetStorer);
  LAMINA_ASSIGN_OR_RETURN(started->stored_event_, os::Event::create("working sets"));
  LAMINA_ASSIGN_OR_RETURN(
      started->thread_,
      os::start_thread("working set storer", [storer = started.get()] { storer->run(); }));
  return started;
}

WorkingSetStorer::~WorkingSetStorer() {
  {
    const MutexLock lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void WorkingSetStorer::add(Recording recording) {
  {
    const MutexLock lock(mutex_);
    stored_.reserve(under_way_ + 1);
    queue_.push_back(std::move(recording));
    ++under_way_;
  }
  wake_.notify_all();
}

std::vector<WorkingSetStorer::Stored> WorkingSetStorer::take_stored() {
  const MutexLock lock(mutex_);
  std::vector<Stored> taken;
  taken.reserve(stored_.size());
  std::move(stored_.begin(), stored_.end(), std::back_inserter(taken));
  under_way_ -= stored_.size();
  stored_.clear();
  stored_event_.clear();
  return taken;
}

void WorkingSetStorer::run() {
  while (true) {
    Recording next;
    {
      const MutexLock lock(mutex_);
      while (queue_.empty() && !stopping_) wake_.wait(mutex_);
      if (stopping_) return;
      next = std::move(queue_.front());
      queue_.pop_front();
    }
    Status status = contain("store a working set", [&] { return store_recording(next); });
    {
      const MutexLock lock(mutex_);
      stored_.push_back({next.vm, std::move(next.snapshot), std::move(status)});
    }
    stored_event_.signal();
  }
}

}  // namespace lamina::server
