// Forking a VM that runs on.
//
//   checkpoint   as a pause; the diff is written to memory if it fits (freeze_memory.h)
//   readable     the layer and the header are written, and nothing of them is synced: clones begin
//   pinned       each clone's pin has links to those files. Now the pause goes on: it syncs, and
//                publishes, while the clones are loaded
//   settled      the snapshot is on the disk: each clone's pin gets it as its base
//
// What a clone runs from before the sync are the files themselves, in the page cache. If a sync
// fails, what they have on the disk is not known. So the pin of a clone says that its base is in
// flight until it is settled, and a pause meanwhile takes a full memory file. Blocks of the layer
// are checked when they are read: a lost one kills the clone and does not corrupt it. The pause is
// made again from its memory file, with another layer under the same name, and does not touch those
// that the pins link.
//
// A pause of a Cloud Hypervisor VM is not acknowledged before it is on the disk. If that fails it
// is discarded, and the clones keep what their pins link. Such a clone always counts from the base
// that it was resumed from, so its pin stays in flight for as long as it runs, unless it is
// settled.
//
// A pause in flight is not a snapshot: no name leads to it, and no list has it except as a queued
// pause.
#include "lamina/live_fork.h"

#include <algorithm>
#include <latch>
#include <memory>
#include <set>
#include <thread>
#include <utility>

#include "base/contain.h"
#include "base/error.h"
#include "base/stopwatch.h"
#include "lifecycle/map_record.h"
#include "lifecycle/pause_with.h"
#include "lifecycle/resume_from.h"
#include "os/long_wait.h"
#include "os/process.h"
#include "os/thread.h"
#include "store/open_store.h"
#include "store/pin.h"
#include "store/snapshot_directory.h"

namespace lamina {
namespace {

using lifecycle::PendingPause;
using lifecycle::ResumeSource;

/// What resuming needs of the facts, which are written last.
store::SnapshotFacts facts_of_journal(const store::PauseJournal& journal) {
  store::SnapshotFacts facts;
  facts.pause_id = journal.pause_id;
  facts.build_id = journal.build_id;
  facts.parent_pause_id = journal.parent_pause_id;
  facts.ancestors = journal.ancestors;
  facts.parent = journal.parent;
  facts.created = journal.created;
  facts.origin = journal.origin;
  return facts;
}

Status check_live_fork(const LiveForkOptions& options) {
  if (options.pause.after == AfterPause::kStop) {
    return fail(ErrorKind::kUsage, "the source of a live fork is not stopped: `after` is stop");
  }
  if (options.pause.once) {
    return fail(ErrorKind::kUsage, "what is forked is resumed more than once: `once` is set");
  }
  if (options.clones.empty()) return fail(ErrorKind::kUsage, "there are no clones");
  std::set<std::string> sockets = {options.pause.vmm.api_socket};
  for (const VmmAddress& clone : options.clones) {
    if (sockets.insert(clone.api_socket).second) continue;
    return fail(ErrorKind::kUsage, "socket '{}' is given twice", clone.api_socket);
  }
  if (!options.devices.empty() && options.devices.size() != options.clones.size()) {
    return fail(ErrorKind::kUsage, "there are devices for {} clones, and {} clones",
                options.devices.size(), options.clones.size());
  }
  return {};
}

/// Counts a latch down once, at the latest when it ends.
class PinnedSignal {
 public:
  explicit PinnedSignal(std::latch& latch) : latch_(latch) {}
  PinnedSignal(const PinnedSignal&) = delete;
  PinnedSignal& operator=(const PinnedSignal&) = delete;
  PinnedSignal(PinnedSignal&&) = delete;
  PinnedSignal& operator=(PinnedSignal&&) = delete;
  ~PinnedSignal() { give(); }

  void give() {
    if (!given_) latch_.count_down();
    given_ = true;
  }

 private:
  std::latch& latch_;
  bool given_ = false;
};

class LiveFork {
 public:
  explicit LiveFork(const LiveForkOptions& options) : options_(options) {}

  Result<LiveForkReport> run() {
    LAMINA_RETURN_IF_ERROR(check_live_fork(options_));
    report_.clones.reserve(options_.clones.size());
    for (const VmmAddress& clone : options_.clones) {
      report_.clones.push_back({.api_socket = clone.api_socket,
                                .resumed = fail(ErrorKind::kFailed, "its resume was not begun"),
                                .ready_ms = 0});
    }
    auto paused = lifecycle::pause_with(
        options_.pause, [&](const PendingPause& pending) { return start_clones(pending); });
    report_.durable_ms = watch_.elapsed_ms();
    join();
    if (!paused) return std::unexpected(with_fate_of_clones(std::move(paused.error())));
    report_.pause = std::move(*paused);
    for (const LiveClone& clone : report_.clones) {
      report_.clones_ms = std::max(report_.clones_ms, clone.ready_ms);
      if (clone.resumed) settle(clone);
    }
    return std::move(report_);
  }

 private:
  /// Returns when no clone needs the directory of the pause any more.
  Status start_clones(const PendingPause& pending) {
    report_.readable_ms = watch_.elapsed_ms();
    // The hook may have been to make the clones' disks.
    if (pending.journal().lacks_files) return {};
    const store::SnapshotFacts facts = facts_of_journal(pending.journal());
    const std::string path = pending.path();
    pinned_ = std::make_unique<std::latch>(static_cast<std::ptrdiff_t>(options_.clones.size()));
    threads_.reserve(options_.clones.size());
    for (std::size_t i = 0; i < options_.clones.size(); ++i) {
      auto signal = std::make_shared<PinnedSignal>(*pinned_);
      auto thread = os::start_thread("clone", [this, i, path, facts, signal]() mutable {
        LiveClone& clone = report_.clones[i];
        const Status contained = contain("clone", [&]() -> Status {
          resume_clone(clone, i, path, facts, *signal);
          return {};
        });
        if (!contained) clone.resumed = std::unexpected(contained.error());
        signal.reset();
      });
      if (thread) {
        threads_.push_back(std::move(*thread));
      } else {
        report_.clones[i].resumed = std::unexpected(thread.error());
      }
    }
    const os::LongWait waiting;
    pinned_->wait();
    return {};
  }

  void resume_clone(LiveClone& clone, std::size_t i, const std::string& path,
                    const store::SnapshotFacts& facts, PinnedSignal& signal) {
    ResumeOptions options = options_.resume;
    options.vmm = options_.clones[i];
    options.store = options_.pause.store;
    options.name = options_.pause.name;
    options.progress = nullptr;
    if (!options_.devices.empty()) take_devices(options_.devices[i], options);
    ResumeSource source{.path = path, .in_flight = facts, .pinned = [&signal] { signal.give(); }};
    clone.resumed = lifecycle::resume_from(std::move(source), options);
    clone.ready_ms = watch_.elapsed_ms();
  }

  static void take_devices(const CloneDevices& devices, ResumeOptions& options) {
    options.network_overrides = devices.network_overrides;
    options.vsock_override = devices.vsock_override;
    options.drive_overrides = devices.drive_overrides;
    options.serial_override = devices.serial_override;
    options.console_override = devices.console_override;
  }

  void join() {
    const os::LongWait waiting;
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }

  /// The snapshot is on the disk: it becomes the clone's base.
  void settle(const LiveClone& clone) {
    const Status settled = contain("live fork", [&] { return settle_pin(clone.resumed->pid); });
    if (settled) return;
    report_.notes.push_back(fmt::format("the next memory file of process {} is a full one: {}",
                                        clone.resumed->pid, one_line(settled.error())));
  }

  [[nodiscard]] Status settle_pin(pid_t pid) const {
    std::vector<std::string> ignored;
    LAMINA_ASSIGN_OR_RETURN(const store::Store store,
                            store::open_store(options_.pause.store, ignored));
    LAMINA_ASSIGN_OR_RETURN(const std::uint64_t start_time, os::start_time_of(pid));
    LAMINA_ASSIGN_OR_RETURN(std::optional<store::Pin> pin,
                            store::Pin::claim_existing(store, os::process_name(pid, start_time)));
    if (!pin || !pin->facts()) return fail(ErrorKind::kFailed, "its pin is gone");
    // Paused meanwhile, it has another base; or the same, if its changes count from its map.
    if (!pin->facts()->base_in_flight) return {};
    LAMINA_ASSIGN_OR_RETURN(const auto from_map, lifecycle::read_map_record(*pin));
    LAMINA_ASSIGN_OR_RETURN(store::OpenSnapshot durable,
                            store::open_snapshot(report_.pause.snapshot, engine::Checksums::kSkip));
    if (durable.pause_id != report_.pause.pause_id) {
      return fail(ErrorKind::kFailed, "'{}' is another pause by now", report_.pause.snapshot);
    }
    LAMINA_RETURN_IF_ERROR(
        store::retry_if_replaced(durable, [&] { return pin->set_base(durable); }));
    store::PinFacts facts = *pin->facts();
    facts.base_in_flight = false;
    if (!from_map || !from_map->last_pause) {
      facts.snapshot = report_.pause.snapshot.substr(report_.pause.snapshot.rfind('/') + 1);
    }
    return pin->write_facts(facts);
  }

  /// A note for each clone if one runs: the caller gets no report, and they are the caller's to
  /// end.
  [[nodiscard]] Error with_fate_of_clones(Error cause) const {
    const auto running =
        std::count_if(report_.clones.begin(), report_.clones.end(),
                      [](const LiveClone& clone) { return clone.resumed.has_value(); });
    if (running == 0) return cause;
    cause.message += fmt::format(
        "; {} of {} clones run from what was not stored, and their next memory files are full ones",
        running, report_.clones.size());
    for (const LiveClone& clone : report_.clones) {
      cause.notes.push_back(
          clone.resumed
              ? fmt::format("clone '{}' runs: process {}", clone.api_socket, clone.resumed->pid)
              : fmt::format("clone '{}': {}", clone.api_socket, one_line(clone.resumed.error())));
    }
    return cause;
  }

  const LiveForkOptions& options_;
  Stopwatch watch_;
  LiveForkReport report_;
  std::unique_ptr<std::latch> pinned_;  ///< counts the clones that need the pause's directory
  std::vector<std::thread> threads_;    ///< last: they use the rest
};

}  // namespace

Result<LiveForkReport> live_fork(const LiveForkOptions& options) {
  return contain("live fork", [&] { return LiveFork(options).run(); });
}

}  // namespace lamina
