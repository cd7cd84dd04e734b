// Pausing a VM into a store. The order is what keeps the promises:
//
//   claim     the VM, its store and its pin            claimed_vm.h
//   examine   what a diff would count from             memory_file_choice.h
//   choose    a diff or a full memory file             memory_file_choice.h
//   prepare   directory, space, journal on the disk    prepared_pause.h
//   capture   Firecracker writes; its answer on record frozen_vm.h
//   thaw      hook and files; a checkpoint runs on     frozen_vm.h
//   finish    scan, header, pin, publish               finish.h
//
// Whatever fails before Firecracker's answer is on record leaves the older state valid, the VM as
// it was, and a note in the pin that the dirty bits may be gone. Whatever fails after it leaves the
// pause queued. A diff of a VM that runs on is written to tmpfs if it fits (freeze_memory.h): then
// that holds for failures of this process, and a power failure, which ends the VM, ends the pause
// too, until finish has put it on the disk.
#include <fcntl.h>

#include <memory>
#include <optional>
#include <utility>
#include <variant>

#include "base/block.h"
#include "base/contain.h"
#include "base/error.h"
#include "base/stopwatch.h"
#include "lamina/lifecycle.h"
#include "lifecycle/arriving_base.h"
#include "lifecycle/claimed_vm.h"
#include "lifecycle/cloud_hypervisor.h"
#include "lifecycle/finish.h"
#include "lifecycle/frozen_vm.h"
#include "lifecycle/interruption.h"
#include "lifecycle/last_create.h"
#include "lifecycle/memory_file_choice.h"
#include "lifecycle/page_server_process.h"
#include "lifecycle/pause_with.h"
#include "lifecycle/prepared_pause.h"
#include "lifecycle/vm.h"
#include "os/file.h"
#include "os/process.h"
#include "store/name.h"
#include "store/spare_storage.h"

namespace lamina {
namespace {

using namespace lifecycle;  // NOLINT(google-build-using-namespace): this file is its entrance

std::vector<Uuid> descent_of(const ExaminedVm& examined) {
  if (!examined.base) return {};
  return {examined.base->pause_id};
}

/// What became of a pause after its memory file was acknowledged.
struct ThawedVm {
  Result<std::vector<std::string>> attached;  ///< names of files that are not synced yet
  Status resumed;                             ///< of a checkpoint
};

class Pause {
 public:
  Pause(const PauseOptions& options, const WhenReadable& when_readable)
      : options_(options), when_readable_(when_readable), interruption_(options.progress) {}

  Result<PauseReport> run() {
    const Status done = work();
    if (of_other_) return std::move(*of_other_);
    // The VM, its pin and the pause are unlocked by now: this may take long.
    page_server_.reset();
    spare_.release(report_.snapshot, report_.notes);
    return report_or_error(done, report_);
  }

 private:
  Status work() {
    LAMINA_ASSIGN_OR_RETURN(const store::SnapshotPath target,
                            store::snapshot_in(options_.store, options_.name));
    report_.snapshot = target.path;
    LAMINA_RETURN_IF_ERROR(check_pause_options(options_));
    // A VMM whose VM waits for a page does not answer, not even which VMM it is.
    const auto wait = [this](const store::Store& store, const store::Pin& pin) {
      return wait_until_whole(store, pin, options_.page_server_command, interruption_,
                              report_.notes);
    };
    LAMINA_ASSIGN_OR_RETURN(AnyClaimedVm any, claim_vm(options_.vmm, options_.store, &interruption_,
                                                       report_.notes, wait));
    if (auto* other = std::get_if<ClaimedCloudHypervisor>(&any)) return hand_on(std::move(*other));
    auto claimed = std::get<ClaimedVm>(std::move(any));
    store_ = claimed.store;
    const Status paused = pause_claimed(claimed);
    if (!paused) release_unused_pin(claimed.pin);
    return paused;
  }

  /// The rest of the pause of another VMM's VM.
  Status hand_on(ClaimedCloudHypervisor claimed) {
    of_other_ = pause_cloud_hypervisor(options_, when_readable_, std::move(claimed), interruption_,
                                       std::move(report_.notes));
    return {};
  }

  Status pause_claimed(ClaimedVm& claimed) {
    LAMINA_RETURN_IF_ERROR(settle_queue(*claimed.store, claimed.pin, claimed.vmm, report_.notes));
    // A queued pause that was settled may have unlocked it.
    LAMINA_RETURN_IF_ERROR(lock_vm(claimed.vmm));
    LAMINA_ASSIGN_OR_RETURN(ExaminedVm examined, examine_vm(claimed));
    LAMINA_ASSIGN_OR_RETURN(const MemoryFileChoice choice,
                            choose_memory_file(claimed, examined, options_.full));
    report_.is_diff = choice.is_diff;
    report_.reason = choice.reason;
    LAMINA_RETURN_IF_ERROR(check_target(*claimed.store, descent_of(examined), options_));
    LAMINA_ASSIGN_OR_RETURN(PreparedPause prepared,
                            prepare_pause(claimed, examined, choice, options_, interruption_));
    report_.pause_id = prepared.journal().pause_id;
    report_.parent_pause_id = prepared.journal().parent_pause_id;
    report_.place = prepared.pending.is_in_memory() ? PausePlace::kMemory : PausePlace::kDisk;
    report_.place_reason = prepared.place_reason;
    report_.phases.prepare_ms = watch_.lap();
    LAMINA_ASSIGN_OR_RETURN(const FrozenVm frozen,
                            capture_memory(claimed, examined, choice, prepared, options_,
                                           interruption_, page_server_, watch_, report_.phases));
    ThawedVm thawed = capture_files_and_thaw(claimed, prepared, frozen);
    unlock_vm(claimed.vmm);
    return finish(claimed, prepared, frozen, thawed);
  }

  ThawedVm capture_files_and_thaw(ClaimedVm& claimed, PreparedPause& prepared,
                                  const FrozenVm& frozen) {
    ThawedVm thawed;
    thawed.attached = contain("pause", [&] { return capture_files(prepared, options_); });
    report_.phases.hook_ms = watch_.lap();
    prepared.spare.release();
    if (options_.after != AfterPause::kResume) return thawed;
    thawed.resumed = contain("resume", [&]() -> Status { return claimed.vmm.resume().status(); });
    report_.phases.resume_ms = watch_.lap();
    report_.phases.frozen_ms = frozen.watch.elapsed_ms();
    return thawed;
  }

  /// The VM runs on, or waits: no haste any more.
  Status finish(ClaimedVm& claimed, PreparedPause& prepared, const FrozenVm& frozen,
                ThawedVm& thawed) {
    PendingPause& pending = prepared.pending;
    pending.record_phases(report_.phases);
    if (pending.journal().lacks_files && thawed.attached) {
      const Status synced = sync_attached(pending, *thawed.attached);
      if (synced) {
        store::PauseJournal journal = pending.journal();
        journal.lacks_files = false;
        LAMINA_RETURN_IF_ERROR(queued(pending, pending.write_journal(journal)));
      } else {
        thawed.attached = std::unexpected(synced.error());
      }
    }
    if (when_readable_) {
      pending.call_when_readable([&] { return when_readable_(pending); });
    }
    auto finished = contain(
        "pause", [&] { return finish_pause(*claimed.store, pending, claimed.pin, report_.notes); });
    if (!finished) return queued(pending, std::unexpected(finished.error()));
    take(*finished);
    report_.phases.durable_ms = frozen.watch.elapsed_ms();
    if (options_.after == AfterPause::kStop && thawed.attached) {
      LAMINA_RETURN_IF_ERROR(stop_vm(claimed.vmm, claimed.pin, report_.notes));
    }
    // A VM that should run and does not is something to be put right: the journal stays.
    const auto has_ended = [&] { return os::has_ended(claimed.vmm.pidfd()); };
    if (!thawed.resumed && !has_ended()) thawed.resumed = thaw(claimed.vmm);
    if (thawed.resumed || has_ended()) LAMINA_RETURN_IF_ERROR(pending.end());
    return outcome_of(thawed);
  }

  void take(FinishedPause& finished) {
    report_.snapshot = options_.store + "/" + finished.name;
    report_.generation = finished.generation;
    report_.memory_bytes = finished.memory_bytes;
    report_.stored_bytes = finished.found.stored_blocks * kBlockBytes;
    report_.unchanged_bytes = finished.found.unchanged_blocks * kBlockBytes;
    report_.phases.complete_ms = finished.complete_ms;
    report_.phases.publish_ms = finished.publish_ms;
    spare_ = std::move(finished.found.spare);
  }

  [[nodiscard]] Status outcome_of(const ThawedVm& thawed) const {
    if (!thawed.attached) {
      return std::unexpected(with_context(
          fmt::format("the state is kept as '{}', without what belongs to it; the VM {}",
                      report_.snapshot,
                      options_.after == AfterPause::kResume ? "runs on" : "stays paused"),
          thawed.attached.error()));
    }
    if (thawed.resumed) return {};
    return with_remedy(
        std::unexpected(with_context(
            fmt::format("'{}' is published, but the VM stays paused", report_.snapshot),
            thawed.resumed.error())),
        "its next pause lets it run, or run: lamina recover {}", options_.store);
  }

  /// What cannot be finished now is not lost: its journal stands.
  [[nodiscard]] Status queued(const PendingPause& pending, const Status& done) const {
    if (done) return {};
    return with_remedy(std::unexpected(with_context(
                           fmt::format("pause {} is acknowledged and queued, not yet a snapshot",
                                       pending.journal().pause_id.to_string()),
                           done.error())),
                       "the VM's next pause tries again, or run: lamina recover {}",
                       options_.store);
  }

  const PauseOptions& options_;
  const WhenReadable& when_readable_;
  Interruption interruption_;
  PauseReport report_;
  std::optional<Result<PauseReport>> of_other_;  ///< of another VMM's VM
  Stopwatch watch_;
  store::SpareStorage spare_;
  std::shared_ptr<const store::Store> store_;     ///< to which page_server_ refers
  std::unique_ptr<PageServerWatch> page_server_;  ///< while the VM is captured
};

}  // namespace

Result<PauseReport> lifecycle::pause_with(const PauseOptions& options,
                                          const WhenReadable& when_readable) {
  return contain("pause", [&] { return Pause(options, when_readable).run(); });
}

Result<PauseReport> pause(const PauseOptions& options) {
  return lifecycle::pause_with(options, {});
}

}  // namespace lamina
