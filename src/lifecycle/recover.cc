// Putting right what a crash has left: every half-done thing is finished or removed. Each step may
// be done by several processes at once and again after a crash: what is locked is being worked on
// by somebody who lives, and is left alone.
#include <algorithm>
#include <atomic>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <system_error>
#include <thread>
#include <utility>

#include "base/contain.h"
#include "base/error.h"
#include "base/mutex.h"
#include "lamina/lifecycle.h"
#include "lamina/listing.h"
#include "lifecycle/finish.h"
#include "lifecycle/maps.h"
#include "lifecycle/page_server_process.h"
#include "lifecycle/pending_pause.h"
#include "lifecycle/vm.h"
#include "os/directory.h"
#include "os/process.h"
#include "store/adoption.h"
#include "store/areas.h"
#include "store/open_store.h"
#include "store/pin.h"
#include "store/resume_count.h"
#include "store/store.h"
#include "vmm/firecracker/client.h"

namespace lamina {
namespace {

using lifecycle::PendingPause;
using store::PauseJournal;
using store::Pin;
using store::Store;

/// So many VMs are asked at once: one that does not answer costs its own time only.
constexpr std::size_t kMostAtOnce = 16;

void add(RecoverReport& sum, RecoverReport&& part) {
  sum.completed += part.completed;
  sum.discarded += part.discarded;
  sum.queued += part.queued;
  sum.resumed_vms += part.resumed_vms;
  std::move(part.notes.begin(), part.notes.end(), std::back_inserter(sum.notes));
}

/// Ends the pauses of one VM, one after the other, in the order in which they began.
class EndOfPauses {
 public:
  EndOfPauses(const RecoverOptions& options, const Store& store, Mutex& completing)
      : options_(options), store_(store), completing_(completing) {}

  RecoverReport run(const std::vector<const store::PauseJournal*>& pauses) {
    for (const store::PauseJournal* journal : pauses) {
      const Status ended = end_pause(*journal);
      if (ended) continue;
      ++report_.queued;
      report_.notes.push_back(fmt::format("pause {} stays queued: {}",
                                          journal->pause_id.to_string(), ended.error().message));
    }
    return std::move(report_);
  }

 private:
  Status end_pause(const store::PauseJournal& seen) {
    const Uuid& id = seen.pause_id;
    auto pin = Pin::claim_existing(store_, seen.vm);
    // Somebody is at work on this VM.
    if (!pin && pin.error().kind == ErrorKind::kBusy) return {};
    if (!pin) return std::unexpected(pin.error());
    LAMINA_ASSIGN_OR_RETURN(std::optional<PendingPause> pending, PendingPause::claim(store_, id));
    if (!pending) return {};
    if (is_given_up(id) && !options_.dry_run) return give_up(*pending, *pin);
    if (!*pin || !(*pin)->facts()) return end_without_pin(*pending);
    if (options_.dry_run) {
      ++(pending->journal().acknowledged ? report_.completed : report_.discarded);
      return {};
    }
    LAMINA_ASSIGN_OR_RETURN(const bool runs, store::is_running(*(*pin)->facts()));
    if (!runs) return end_without_vm(*pending, **pin);
    return end_with_vm(*pending, **pin);
  }

  [[nodiscard]] bool is_given_up(const Uuid& id) const {
    return std::find(options_.give_up.begin(), options_.give_up.end(), id) !=
           options_.give_up.end();
  }

  Status give_up(PendingPause& pending, std::optional<Pin>& pin) {
    LAMINA_RETURN_IF_ERROR(pending.remove_files());
    if (pin) LAMINA_RETURN_IF_ERROR(lifecycle::require_full(*pin));
    ++report_.discarded;
    return pending.end();
  }

  /// A pin is not released before its pauses have ended: it was removed by hand.
  Status end_without_pin(PendingPause& pending) {
    if (pending.journal().acknowledged && !pending.was_published()) {
      return fail(ErrorKind::kFailed, "the pin '{}/{}/{}' of its VM is missing", store_.path(),
                  store::kVmsArea, pending.journal().vm);
    }
    if (options_.dry_run) return {};
    if (!pending.journal().acknowledged) {
      ++report_.discarded;
      LAMINA_RETURN_IF_ERROR(pending.remove_files());
    }
    return pending.end();
  }

  Status end_without_vm(PendingPause& pending, Pin& pin) {
    if (!pending.journal().acknowledged) {
      ++report_.discarded;
      return lifecycle::give_up_pause(pending, pin);
    }
    LAMINA_ASSIGN_OR_RETURN(const bool lost, lifecycle::has_lost_files(pending, pin));
    if (lost) {
      return fail(ErrorKind::kFailed,
                  "its files have been removed by somebody and its VM has ended, so its state is "
                  "lost; give it up: lamina recover {} --give-up {}",
                  store_.path(), pending.journal().pause_id.to_string());
    }
    const MutexLock one_at_a_time(completing_);
    LAMINA_ASSIGN_OR_RETURN(lifecycle::FinishedPause finished,
                            lifecycle::finish_pause(store_, pending, pin, report_.notes));
    ++report_.completed;
    report_.notes.push_back(fmt::format("completed pause {} as '{}'",
                                        pending.journal().pause_id.to_string(), finished.name));
    LAMINA_RETURN_IF_ERROR(pending.end());
    finished.found.spare.give_back(store_.path() + "/" + finished.name, report_.notes);
    return {};
  }

  Status end_with_vm(PendingPause& pending, Pin& pin) {
    const store::PauseJournal journal = pending.journal();
    auto vmm = lifecycle::reach({journal.api_socket, "", options_.timeouts}, nullptr);
    if (!vmm) {
      LAMINA_ASSIGN_OR_RETURN(const bool runs, store::is_running(*pin.facts()));
      if (!runs) return end_without_vm(pending, pin);
      return std::unexpected(vmm.error());
    }
    if (vmm->pid() != pin.facts()->pid || vmm->start_time() != pin.facts()->start_time) {
      return fail(ErrorKind::kFailed, "another process answers at '{}' than VM {}",
                  journal.api_socket, pin.name());
    }
    lifecycle::SettledPauses settled;
    const Status done = lifecycle::settle_pause(store_, pending, pin, *vmm, completing_, settled);
    report_.completed += settled.completed;
    report_.discarded += settled.discarded;
    report_.resumed_vms += settled.resumed_vms;
    report_.notes.insert(report_.notes.end(), settled.notes.begin(), settled.notes.end());
    return done;
  }

  const RecoverOptions& options_;
  const Store& store_;
  Mutex& completing_;  ///< what reads and writes memory files is done one at a time
  RecoverReport report_;
};

class Recover {
 public:
  explicit Recover(const RecoverOptions& options) : options_(options) {}

  Result<RecoverReport> run() { return report_or_error(work(), report_); }

 private:
  Status work() {
    if (!store::is_store(options_.store)) {
      return fail(ErrorKind::kNotFound,
                  "'{}' is no store; a store is the directory that snapshots "
                  "are kept in",
                  options_.store);
    }
    // Opening ends what ingests and merges have left.
    LAMINA_ASSIGN_OR_RETURN(const Store store, store::open_store(options_.store, report_.notes));
    LAMINA_RETURN_IF_ERROR(check_given_up(store));
    if (options_.adopt_store) LAMINA_RETURN_IF_ERROR(adopt(store));
    // First: a VMM that waits for a page of its VM does not answer.
    if (!options_.dry_run) LAMINA_RETURN_IF_ERROR(start_page_server(store));
    LAMINA_RETURN_IF_ERROR(end_pauses(store));
    LAMINA_RETURN_IF_ERROR(release_pins(store));
    LAMINA_RETURN_IF_ERROR(forget_counts(store));
    LAMINA_ASSIGN_OR_RETURN(report_.removed_maps,
                            lifecycle::remove_unused_maps(store, options_.dry_run));
    return options_.dry_run ? Status() : store.remove_unused_locks();
  }

  /// Before anything is done: who mistypes an id is told so.
  [[nodiscard]] Status check_given_up(const Store& store) const {
    for (const Uuid& id : options_.give_up) {
      const auto journal = store::read_pause_journal(store, id);
      if (!journal) continue;  // one that cannot be read can be given up
      if (!*journal) {
        return fail(ErrorKind::kNotFound, "no pause {} is queued in store '{}'; see lamina ls {}",
                    id.to_string(), store.path(), store.path());
      }
      const std::string why = store::why_foreign((*journal)->belongs_to, store.identity());
      if (!why.empty() && !options_.adopt_store) {
        return fail(ErrorKind::kFailed,
                    "pause {} cannot be given up here: {}; to make it this store's: lamina recover "
                    "{} --adopt-store",
                    id.to_string(), why, store.path());
      }
    }
    return {};
  }

  /// Pins first: what a pause counts from is ours before the pause is.
  Status adopt(const Store& store) {
    LAMINA_ASSIGN_OR_RETURN(const std::vector<std::string> names, store::list_pins(options_.store));
    for (const std::string& name : names) {
      LAMINA_ASSIGN_OR_RETURN(std::optional<Pin> pin, Pin::claim_existing(store, name));
      if (!pin || pin->why_foreign().empty()) continue;
      ++report_.adopted;
      if (!options_.dry_run) LAMINA_RETURN_IF_ERROR(pin->adopt());
    }
    LAMINA_ASSIGN_OR_RETURN(const lifecycle::PendingPauses pauses,
                            lifecycle::pending_pauses(store));
    for (const store::PauseJournal& journal : pauses.foreign) {
      const Status adopted =
          options_.dry_run ? Status{} : lifecycle::adopt_pause(store, journal.pause_id);
      if (adopted) {
        ++report_.adopted;
      } else {
        report_.notes.push_back(adopted.error().message);
      }
    }
    if (options_.dry_run) return {};
    LAMINA_ASSIGN_OR_RETURN(const std::vector<std::string> ingests,
                            store::adopt_foreign_adoptions(store));
    report_.adopted += ingests.size();
    return store::end_unfinished_adoptions(store, report_.notes);
  }

  /// Starts it when a VM that runs gets its memory by page faults.
  Status start_page_server(const Store& store) {
    LAMINA_ASSIGN_OR_RETURN(const std::vector<std::string> names, store::list_pins(options_.store));
    for (const std::string& name : names) {
      const auto facts = store::read_own_pin_facts(pin_path(name), store.identity());
      if (!facts || !facts->by_page_faults) continue;
      const Result<bool> runs = store::is_running(*facts);
      if (!runs || !*runs) continue;
      const auto started = lifecycle::ensure_page_server(store, options_.page_server_command);
      if (!started) {
        report_.notes.push_back(
            fmt::format("VMs wait for a page server: {}", started.error().message));
      } else if (*started) {
        report_.notes.emplace_back("started the page server");
      }
      return {};
    }
    return {};
  }

  Status end_pauses(const Store& store) {
    LAMINA_RETURN_IF_ERROR(give_up_unreadable(store));
    LAMINA_ASSIGN_OR_RETURN(const lifecycle::PendingPauses pauses,
                            lifecycle::pending_pauses(store));
    report_.queued += pauses.unreadable.size();
    report_.foreign += pauses.foreign.size();
    report_.notes.insert(report_.notes.end(), pauses.unreadable.begin(), pauses.unreadable.end());
    std::map<std::string, std::vector<const store::PauseJournal*>> by_vm;
    for (const store::PauseJournal& journal : pauses.journals)
      by_vm[journal.vm].push_back(&journal);
    std::vector<std::vector<const store::PauseJournal*>> vms;
    vms.reserve(by_vm.size());
    for (auto& [name, journals] : by_vm) vms.push_back(std::move(journals));
    end_pauses_of(store, vms);
    return {};
  }

  void end_pauses_of(const Store& store,
                     const std::vector<std::vector<const store::PauseJournal*>>& vms) {
    std::vector<RecoverReport> reports(vms.size());
    std::atomic<std::size_t> next{0};
    Mutex completing;
    const auto work = [&] {
      for (std::size_t i = next++; i < vms.size(); i = next++) {
        reports[i] = EndOfPauses(options_, store, completing).run(vms[i]);
      }
    };
    {
      std::vector<std::jthread> others;
      while (others.size() + 1 < std::min(vms.size(), kMostAtOnce)) {
        try {
          others.emplace_back(work);
        } catch (const std::system_error&) {
          break;  // without threads they are asked one after the other
        }
      }
      work();
    }
    for (RecoverReport& report : reports) add(report_, std::move(report));
  }

  /// Whose pauses they are is not known: no VM of the store may take a diff next.
  Status give_up_unreadable(const Store& store) {
    for (const Uuid& id : options_.give_up) {
      if (store::read_pause_journal(store, id) || options_.dry_run) continue;
      LAMINA_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                              store::list_pins(options_.store));
      for (const std::string& name : names) {
        LAMINA_ASSIGN_OR_RETURN(std::optional<Pin> pin, Pin::claim_existing(store, name));
        // Another store's says nothing here: who pauses its VM takes a full one anyway.
        if (pin) LAMINA_RETURN_IF_ERROR(lifecycle::require_full(*pin));
      }
      LAMINA_RETURN_IF_ERROR(lifecycle::remove_unreadable_pause(store, id));
      ++report_.discarded;
    }
    return {};
  }

  Status release_pins(const Store& store) {
    LAMINA_ASSIGN_OR_RETURN(const std::vector<std::string> names, store::list_pins(options_.store));
    for (const std::string& name : names) {
      const Status done = release_if_ended(store, name);
      // Somebody is at work on this VM.
      if (!done && done.error().kind != ErrorKind::kBusy) {
        report_.notes.push_back(done.error().message);
      }
    }
    return {};
  }

  Status release_if_ended(const Store& store, const std::string& name) {
    LAMINA_ASSIGN_OR_RETURN(const bool in_use, is_in_use(store, name));
    if (in_use) return {};
    LAMINA_ASSIGN_OR_RETURN(std::optional<Pin> pin, Pin::claim_existing(store, name));
    if (!pin || !pin->why_foreign().empty()) return {};
    LAMINA_ASSIGN_OR_RETURN(const bool queued, has_queued_pause(store, name));
    if (queued) return {};
    ++report_.released_pins;
    return options_.dry_run ? Status{} : lifecycle::release_pin(*pin);
  }

  [[nodiscard]] std::string pin_path(const std::string& name) const {
    return fmt::format("{}/{}/{}", options_.store, store::kVmsArea, name);
  }

  /// Looked at without its lock: whoever pauses or resumes the VM just now is not to find it busy.
  [[nodiscard]] Result<bool> is_in_use(const Store& store, const std::string& name) {
    const auto facts = store::read_pin_facts(pin_path(name));
    if (facts && !store::why_foreign(facts->belongs_to, store.identity()).empty()) {
      ++report_.foreign;
      return true;  // for all that we know
    }
    if (facts) return store::is_running(*facts);
    // Just made, or left by one that was killed then: of a VM that is there it will be used again.
    const auto process = os::parse_process_name(name);
    if (!process) return false;
    return os::is_running(process->pid, process->start_time);
  }

  /// How often a pause was resumed is kept for as long as the store has a snapshot of it.
  [[nodiscard]] Status forget_counts(const Store& store) const {
    if (options_.dry_run) return {};
    LAMINA_ASSIGN_OR_RETURN(const StoreListing listing, list_store(options_.store));
    std::set<Uuid> kept;
    for (const SnapshotListing& snapshot : listing.snapshots) {
      if (!snapshot.pause_id) return {};  // what cannot be read may be repaired
      kept.insert(*snapshot.pause_id);
    }
    return store::forget_counts_without(store, kept);
  }

  /// A journal that cannot be read may be of any VM.
  static Result<bool> has_queued_pause(const Store& store, const std::string& pin) {
    LAMINA_ASSIGN_OR_RETURN(const lifecycle::PendingPauses pauses,
                            lifecycle::pending_pauses(store));
    const auto is_its = [&](const store::PauseJournal& journal) { return journal.vm == pin; };
    const bool has_one = std::any_of(pauses.journals.begin(), pauses.journals.end(), is_its) ||
                         std::any_of(pauses.foreign.begin(), pauses.foreign.end(), is_its);
    return has_one || !pauses.unreadable.empty();
  }

  const RecoverOptions& options_;
  RecoverReport report_;
};

}  // namespace

Result<RecoverReport> recover(const RecoverOptions& options) {
  return contain("recover", [&] { return Recover(options).run(); });
}

}  // namespace lamina
