// Putting right what a crash has left: every half-done thing is finished or removed. Each step may
// be done by several processes at once and again after a crash: what is locked is being worked on
// by somebody who lives, and is left alone.
#include <set>

#include "base/error.h"
#include "lamina/lifecycle.h"
#include "lamina/listing.h"
#include "store/maps.h"
#include "store/pending_pause.h"
#include "store/pin.h"
#include "store/resume_count.h"
#include "store/store.h"
#include "sys/directory.h"
#include "sys/process.h"
#include "vmm/finish.h"
#include "vmm/firecracker.h"
#include "vmm/page_server_process.h"

namespace lamina {
namespace {

using store::PauseJournal;
using store::PendingPause;
using store::Pin;
using store::Store;
using vmm::Firecracker;

class Recover {
 public:
  explicit Recover(const RecoverOptions& options) : options_(options) {}

  Result<RecoverReport> run() { return report_or_error(work(), report_); }

 private:
  Status work() {
    if (!Store::exists(options_.store)) {
      return fail(ErrorKind::kNotFound,
                  "'{}' is no store; a store is the directory that snapshots "
                  "are kept in",
                  options_.store);
    }
    // Opening ends what ingests and merges have left.
    LAMINA_ASSIGN_OR_RETURN(const Store store, Store::open(options_.store, report_.notes));
    LAMINA_RETURN_IF_ERROR(end_pauses(store));
    LAMINA_RETURN_IF_ERROR(release_pins(store));
    LAMINA_RETURN_IF_ERROR(forget_counts(store));
    LAMINA_ASSIGN_OR_RETURN(report_.removed_maps,
                            store::remove_unused_maps(store, options_.dry_run));
    if (needs_page_server_ && !options_.dry_run) {
      const auto started = vmm::ensure_page_server(store, options_.page_server_command);
      if (!started) {
        report_.notes.push_back(
            fmt::format("VMs wait for a page server: {}", started.error().message));
      } else if (*started) {
        report_.notes.emplace_back("started the page server");
      }
    }
    return {};
  }

  Status end_pauses(const Store& store) {
    LAMINA_ASSIGN_OR_RETURN(const std::vector<Uuid> ids, store::pending_pauses(store));
    for (const Uuid& id : ids) {
      const Status ended = end_pause(store, id);
      if (ended) continue;
      ++report_.queued;
      report_.notes.push_back(
          fmt::format("pause {} stays queued: {}", id.to_string(), ended.error().message));
    }
    return {};
  }

  Status end_pause(const Store& store, const Uuid& id) {
    LAMINA_ASSIGN_OR_RETURN(const std::optional<PauseJournal> seen,
                            store::read_pause_journal(store, id));
    if (!seen) return {};
    auto pin = Pin::claim_existing(store, seen->vm);
    // Somebody is at work on this VM.
    if (!pin && pin.error().kind == ErrorKind::kBusy) return {};
    if (!pin) return std::unexpected(pin.error());
    LAMINA_ASSIGN_OR_RETURN(std::optional<PendingPause> pending, PendingPause::claim(store, id));
    if (!pending) return {};
    if (!*pin || !(*pin)->facts()) return end_without_pin(store, *pending);
    if (options_.dry_run) {
      ++(pending->journal().acknowledged ? report_.completed : report_.discarded);
      return {};
    }
    const bool runs = store::is_running(*(*pin)->facts());
    if (!runs) return end_without_vm(store, *pending, **pin);
    return end_with_vm(store, *pending, **pin);
  }

  /// A pin is not released before its pauses have ended: it was removed by hand.
  Status end_without_pin(const Store& store, PendingPause& pending) {
    if (pending.journal().acknowledged && !pending.was_published()) {
      return fail(ErrorKind::kFailed, "the pin '{}/{}/{}' of its VM is missing", store.path(),
                  store::kVmsArea, pending.journal().vm);
    }
    if (options_.dry_run) return {};
    if (!pending.journal().acknowledged) {
      ++report_.discarded;
      return pending.discard();
    }
    return pending.end();
  }

  Status end_without_vm(const Store& store, PendingPause& pending, Pin& pin) {
    if (!pending.journal().acknowledged) {
      ++report_.discarded;
      return vmm::give_up_pause(pending, pin);
    }
    LAMINA_ASSIGN_OR_RETURN(const vmm::FinishedPause finished,
                            vmm::finish_pause(store, pending, pin, report_.notes));
    ++report_.completed;
    report_.notes.push_back(fmt::format("completed pause {} as '{}'",
                                        pending.journal().pause_id.to_string(), finished.name));
    return pending.end();
  }

  Status end_with_vm(const Store& store, PendingPause& pending, Pin& pin) {
    const PauseJournal journal = pending.journal();
    auto vmm = vmm::reach({journal.api_socket, "", options_.timeouts}, nullptr);
    if (!vmm) {
      if (!store::is_running(*pin.facts())) return end_without_vm(store, pending, pin);
      return std::unexpected(vmm.error());
    }
    if (vmm->pid() != pin.facts()->pid || vmm->start_time() != pin.facts()->start_time) {
      return fail(ErrorKind::kFailed, "another process answers at '{}' than VM {}",
                  journal.api_socket, pin.name());
    }
    // Answered only after a create that still runs has ended.
    LAMINA_ASSIGN_OR_RETURN(const vmm::InstanceInfo instance, vmm->describe());
    const bool is_paused = instance.state == vmm::VmState::kPaused;
    // While the journal stands, somebody knows that the VM is to run. What a checkpoint's VM waits
    // for is on record: it need not wait for the rest.
    if (is_paused && vmm::leaves_running(journal)) LAMINA_RETURN_IF_ERROR(thaw(*vmm));
    if (!journal.acknowledged) {
      LAMINA_RETURN_IF_ERROR(vmm::give_up_pause(pending, pin));
      ++report_.discarded;
      return {};
    }
    LAMINA_ASSIGN_OR_RETURN(const vmm::FinishedPause finished,
                            vmm::finish_pause(store, pending, pin, report_.notes));
    ++report_.completed;
    report_.notes.push_back(
        fmt::format("completed pause {} as '{}'", journal.pause_id.to_string(), finished.name));
    // A VM that was started again since is not stopped for what was asked before.
    if (is_paused && journal.after == AfterPause::kStop && !journal.lacks_files) {
      LAMINA_RETURN_IF_ERROR(vmm::stop_vm(*vmm, pin));
    }
    return pending.end();
  }

  Status thaw(Firecracker& vmm) {
    LAMINA_RETURN_IF_ERROR(vmm.resume().status());
    ++report_.resumed_vms;
    report_.notes.push_back(
        fmt::format("the VM of process {} runs again; its pause had not ended", vmm.pid()));
    return {};
  }

  Status release_pins(const Store& store) {
    LAMINA_ASSIGN_OR_RETURN(const std::vector<std::string> names, store::list_pins(options_.store));
    for (const std::string& name : names) {
      if (is_in_use(name)) continue;
      auto pin = Pin::claim_existing(store, name);
      if (!pin || !*pin) {
        if (!pin && pin.error().kind != ErrorKind::kBusy) {
          report_.notes.push_back(pin.error().message);
        }
        continue;
      }
      const auto queued = has_queued_pause(store, name);
      if (!queued) report_.notes.push_back(queued.error().message);
      if (!queued || *queued) continue;
      ++report_.released_pins;
      if (options_.dry_run) continue;
      const Status released = vmm::release_pin(**pin);
      if (!released) report_.notes.push_back(released.error().message);
    }
    return {};
  }

  /// Looked at without its lock: whoever pauses or resumes the VM just now is not to find it busy.
  bool is_in_use(const std::string& pin) {
    const auto facts =
        store::read_pin_facts(fmt::format("{}/{}/{}", options_.store, store::kVmsArea, pin));
    if (facts) {
      if (!store::is_running(*facts)) return false;
      needs_page_server_ = needs_page_server_ || facts->by_page_faults;
      return true;
    }
    // Just made, or left by one that was killed then: of a VM that is there it will be used again.
    const auto process = store::parse_pin_name(pin);
    return process && sys::is_running(process->pid, process->start_time);
  }

  /// How often a pause was resumed is kept for as long as the store has a snapshot of it.
  Status forget_counts(const Store& store) const {
    if (options_.dry_run) return {};
    LAMINA_ASSIGN_OR_RETURN(const StoreListing listing, list_store(options_.store));
    std::set<Uuid> kept;
    for (const SnapshotListing& snapshot : listing.snapshots) {
      if (!snapshot.pause_id) return {};  // what cannot be read may be repaired
      kept.insert(*snapshot.pause_id);
    }
    return store::forget_counts_without(store, kept);
  }

  static Result<bool> has_queued_pause(const Store& store, const std::string& pin) {
    LAMINA_ASSIGN_OR_RETURN(const std::vector<Uuid> ids, store::pending_pauses(store));
    for (const Uuid& id : ids) {
      LAMINA_ASSIGN_OR_RETURN(const std::optional<PauseJournal> journal,
                              store::read_pause_journal(store, id));
      if (journal && journal->vm == pin) return true;
    }
    return false;
  }

  const RecoverOptions& options_;
  RecoverReport report_;
  bool needs_page_server_ = false;
};

}  // namespace

Result<RecoverReport> recover(const RecoverOptions& options) { return Recover(options).run(); }

}  // namespace lamina
