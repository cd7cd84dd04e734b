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
#include "server/working_set_choice.h"
#include "store/ancestors.h"
#include "store/resume_coverage.h"
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

/// Whether the state `opened` is the one that the VM was resumed from, or descends from it.
bool is_or_descends(const store::OpenSnapshot& opened, const Uuid& pause_id) {
  if (opened.pause_id == pause_id) return true;
  const std::vector<Uuid> ancestors = store::ancestors_of(opened.facts);
  return std::find(ancestors.begin(), ancestors.end(), pause_id) != ancestors.end();
}

/// Absent: none, or one that cannot be used.
std::optional<format::WorkingSet> present_set(const store::OpenSnapshot& opened) {
  const std::string path = opened.path + "/" + store::kWorkingSetName;
  const auto bytes = os::read_if_exists(opened.directory.get(), store::kWorkingSetName,
                                        format::max_working_set_bytes(), path);
  if (!bytes || !*bytes) return std::nullopt;
  auto decoded = format::decode_working_set(**bytes);
  if (!decoded || decoded->memory_bytes != opened.header.memory_bytes) return std::nullopt;
  return std::move(*decoded);
}

/// Puts the file in its place by a rename, which keeps the hard links of other snapshots.
Status replace_set(const store::OpenSnapshot& opened, const format::WorkingSet& set) {
  const std::vector<std::byte> bytes = format::encode_working_set(set);
  const int directory = opened.directory.get();
  LAMINA_RETURN_IF_ERROR(os::check_owner(directory, opened.path));
  LAMINA_ASSIGN_OR_RETURN(const bool locked, os::try_lock(directory, opened.path));
  if (!locked) return fail(ErrorKind::kBusy, "'{}' is being written", opened.path);
  const os::LockedFd unlocked_at_the_end(os::Fd(::fcntl(directory, F_DUPFD_CLOEXEC, 0)));
  return os::replace_file(directory, store::kNewWorkingSetName, store::kWorkingSetName, bytes,
                          opened.path);
}

/// What `opened` gets of a recording of faults.
Result<WorkingSetChoice> store_faults(const store::OpenSnapshot& opened,
                                      const Recording& recording) {
  const auto present = present_set(opened);
  std::span<const BlockRun> replayed;
  if (recording.replayed) replayed = recording.replayed->first;
  WorkingSetChoice choice =
      choose_working_set(opened.header.mapping, opened.header.memory_bytes,
                         present ? &*present : nullptr, replayed, recording.blocks);
  if (choice.replacement) LAMINA_RETURN_IF_ERROR(replace_set(opened, *choice.replacement));
  return choice;
}

Status note_coverage(const Recording& recording, const Uuid& pause_id,
                     const WorkingSetChoice& choice) {
  if (choice.used_blocks == 0) return {};
  const std::size_t slash = recording.snapshot.rfind('/');
  const std::string path = slash == 0 ? "/" : recording.snapshot.substr(0, slash);
  LAMINA_ASSIGN_OR_RETURN(const os::Fd store, os::open_directory(AT_FDCWD, path, path));
  ResumeCoverage coverage;
  coverage.was_replayed = recording.replayed != nullptr;
  coverage.used_blocks = choice.used_blocks;
  coverage.known_blocks = choice.known_blocks;
  return store::add_coverage(store.get(), path, pause_id, coverage);
}

/// Stores it in the snapshot, or the pin's base, at `path`. The directory is looked up anew: a
/// merge may have replaced it meanwhile, and kept its pause.
Status store_at(const std::string& path, const Recording& recording) {
  if (path.empty()) return fail(ErrorKind::kNotFound, "the snapshot of the VM has no name");
  LAMINA_ASSIGN_OR_RETURN(const store::OpenSnapshot now,
                          store::open_snapshot(path, engine::Checksums::kSkip));
  if (!is_or_descends(now, recording.pause_id) ||
      now.header.memory_bytes != recording.memory_bytes) {
    return fail(ErrorKind::kNotFound, "'{}' is another pause by now", path);
  }
  if (!recording.faults_only) return replace_set(now, working_set_of(recording));
  LAMINA_ASSIGN_OR_RETURN(const WorkingSetChoice choice, store_faults(now, recording));
  if (path != recording.snapshot) return {};
  return note_coverage(recording, recording.pause_id, choice);
}

/// A failure that says nothing but that the hint has no place any more.
bool is_expected(const Error& error) {
  return error.kind == ErrorKind::kNotFound || error.kind == ErrorKind::kBusy ||
         error.kind == ErrorKind::kPermission;
}

}  // namespace

Status store_recording(const Recording& recording) {
  Status stored = store_at(recording.snapshot, recording);
  if (!recording.pin_base.empty()) {
    // While it exists. (Its VM may be paused at this moment: the hint is lost then.)
    const Status passed_on = store_at(recording.pin_base, recording);
    if (stored && !passed_on && !is_expected(passed_on.error())) stored = passed_on;
  }
  if (!stored && recording.faults_only && is_expected(stored.error())) return {};
  return stored;
}

Result<std::unique_ptr<WorkingSetStorer>> WorkingSetStorer::create() {
  std::unique_ptr<WorkingSetStorer> made(new WorkingSetStorer);
  LAMINA_ASSIGN_OR_RETURN(made->stored_event_, os::Event::create("working sets"));
  return made;
}

WorkingSetStorer::~WorkingSetStorer() {
  {
    const MutexLock lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

Status WorkingSetStorer::add(Recording recording) {
  if (!thread_.joinable()) {
    LAMINA_ASSIGN_OR_RETURN(thread_, os::start_thread("working set storer", [this] { run(); }));
  }
  {
    const MutexLock lock(mutex_);
    stored_.reserve(under_way_ + 1);
    queue_.push_back(std::move(recording));
    ++under_way_;
  }
  wake_.notify_all();
  return {};
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
