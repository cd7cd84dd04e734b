// Recovery after a crash: every unfinished operation is completed or removed. Several processes may
// recover one store at once, and each step may be repeated after another crash: whatever is locked
// belongs to a process that runs, and is left alone.
#include <algorithm>
#include <optional>
#include <set>
#include <utility>

#include "base/contain.h"
#include "base/error.h"
#include "lamina/lifecycle.h"
#include "lamina/listing.h"
#include "lifecycle/arrivals.h"
#include "lifecycle/finish.h"
#include "lifecycle/maps.h"
#include "lifecycle/page_server_process.h"
#include "lifecycle/pause_queue.h"
#include "lifecycle/unfinished_pauses.h"
#include "lifecycle/vm.h"
#include "os/directory.h"
#include "os/process.h"
#include "store/adoption.h"
#include "store/areas.h"
#include "store/arrival.h"
#include "store/open_store.h"
#include "store/pin.h"
#include "store/push_record.h"
#include "store/resume_count.h"
#include "store/store.h"

namespace lamina {
namespace {

using store::Pin;
using store::Store;

class Recover {
 public:
  explicit Recover(const RecoverOptions& options) : options_(options) {}

  Result<RecoverReport> run() { return report_or_error(work(), report_); }

 private:
  Status work() {
    if (!store::is_store(options_.store)) {
      return fail(ErrorKind::kNotFound,
                  "'{}' is not a store; a store is the directory that "
                  "snapshots are kept in",
                  options_.store);
    }
    // Opening the store ends unfinished ingests and merges.
    LAMINA_ASSIGN_OR_RETURN(const Store store, store::open_store(options_.store, report_.notes));
    LAMINA_RETURN_IF_ERROR(check_given_up(store));
    if (options_.adopt_store) LAMINA_RETURN_IF_ERROR(adopt(store));
    // First: a VMM that waits for a page does not answer.
    if (!options_.dry_run) LAMINA_RETURN_IF_ERROR(start_page_server(store));
    LAMINA_RETURN_IF_ERROR(end_pauses(store));
    LAMINA_RETURN_IF_ERROR(release_pins(store));
    LAMINA_RETURN_IF_ERROR(lifecycle::end_arrivals(store, options_, released_, report_));
    LAMINA_RETURN_IF_ERROR(forget_pauses(store));
    LAMINA_ASSIGN_OR_RETURN(report_.removed_maps,
                            lifecycle::remove_unused_maps(store, options_.dry_run));
    return options_.dry_run ? Status() : store.remove_unused_locks();
  }

  /// Before anything is done: an id that is mistyped is an error.
  [[nodiscard]] Status check_given_up(const Store& store) const {
    for (const Uuid& id : options_.give_up) {
      const auto journal = store::read_pause_journal(store, id);
      if (!journal) continue;  // an unreadable one can be given up
      if (!*journal) {
        return with_remedy(fail(ErrorKind::kNotFound, "no pause {} is queued in store '{}'",
                                id.to_string(), store.path()),
                           "for those that are, run: lamina ls {}", store.path());
      }
      const std::string why = store::why_foreign((*journal)->belongs_to, store.identity());
      if (!why.empty() && !options_.adopt_store) {
        return with_remedy(
            fail(ErrorKind::kFailed, "pause {} cannot be given up here: {}", id.to_string(), why),
            "to make it this store's, run: lamina recover {} --adopt-store", store.path());
      }
    }
    return {};
  }

  /// Pins first: the base of a pause must belong to this store before the pause does.
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
        report_.notes.push_back(one_line(adopted.error()));
      }
    }
    if (options_.dry_run) return {};
    LAMINA_ASSIGN_OR_RETURN(const std::vector<std::string> ingests,
                            store::adopt_foreign_adoptions(store));
    report_.adopted += ingests.size();
    return store::end_unfinished_adoptions(store, report_.notes);
  }

  /// Starts it if a running VM gets its memory by page faults.
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
            fmt::format("VMs wait for a page server: {}", one_line(started.error())));
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
    return lifecycle::end_pauses(store, pauses.journals, options_, report_);
  }

  /// Their VMs are not known: the next memory file of every VM in the store must be a full one.
  Status give_up_unreadable(const Store& store) {
    for (const Uuid& id : options_.give_up) {
      if (store::read_pause_journal(store, id) || options_.dry_run) continue;
      LAMINA_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                              store::list_pins(options_.store));
      for (const std::string& name : names) {
        LAMINA_ASSIGN_OR_RETURN(std::optional<Pin> pin, Pin::claim_existing(store, name));
        // A pin of another store is skipped: a pause of its VM into this store is full anyway.
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
      if (options_.progress != nullptr && options_.progress->interrupted()) {
        return fail(ErrorKind::kInterrupted, "interrupted");
      }
      const Status done = release_if_ended(store, name);
      // Another process works on this VM.
      if (!done && done.error().kind != ErrorKind::kBusy) {
        report_.notes.push_back(one_line(done.error()));
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
    if (options_.dry_run) released_.insert(name);
    return options_.dry_run ? Status{} : lifecycle::release_pin(*pin);
  }

  [[nodiscard]] std::string pin_path(const std::string& name) const {
    return fmt::format("{}/{}/{}", options_.store, store::kVmsArea, name);
  }

  /// Read without its lock, so that a pause or resume of the VM does not find it busy.
  [[nodiscard]] Result<bool> is_in_use(const Store& store, const std::string& name) {
    const auto facts = store::read_pin_facts(pin_path(name));
    if (facts && !store::why_foreign(facts->belongs_to, store.identity()).empty()) {
      ++report_.foreign;
      return true;  // it may be
    }
    if (facts) return store::is_running(*facts);
    // Without facts: just made, or left by a process that was killed then. If the VM runs, its next
    // pause uses it.
    const auto process = os::parse_process_name(name);
    if (!process) return false;
    return os::is_running(process->pid, process->start_time);
  }

  /// The pauses that the store has or will have, and the states that its snapshots descend from.
  struct PresentPauses {
    std::set<Uuid> ids;
    std::vector<std::vector<Uuid>> lineages;
  };

  /// Adds to `present`. False: it is not known of all that is there.
  [[nodiscard]] Result<bool> add_present(const Store& store, PresentPauses& present) const {
    // Clones of a fork are counted before its snapshot is published.
    LAMINA_ASSIGN_OR_RETURN(const lifecycle::PendingPauses pauses,
                            lifecycle::pending_pauses(store));
    if (!pauses.unreadable.empty()) return false;
    for (const auto* journals : {&pauses.journals, &pauses.foreign}) {
      for (const store::PauseJournal& journal : *journals) present.ids.insert(journal.pause_id);
    }
    // Before the list: one that becomes whole meanwhile is in the list.
    LAMINA_ASSIGN_OR_RETURN(const std::vector<Uuid> arriving, store::list_arrivals(store.path()));
    for (const Uuid& id : arriving) {
      const auto arrival = store::open_arrival(store.path(), id);
      if (arrival) {
        present.ids.insert(arrival->facts.pause_id);
      } else if (arrival.error().kind != ErrorKind::kNotFound) {
        return false;
      }
    }
    LAMINA_ASSIGN_OR_RETURN(const StoreListing listing, list_store(options_.store));
    for (const SnapshotListing& snapshot : listing.snapshots) {
      if (!snapshot.pause_id) return false;  // unreadable, but may be repaired
      present.ids.insert(*snapshot.pause_id);
      std::vector<Uuid> lineage = {*snapshot.pause_id};
      lineage.insert(lineage.end(), snapshot.ancestors.begin(), snapshot.ancestors.end());
      present.lineages.push_back(std::move(lineage));
    }
    return true;
  }

  /// The count of resumes of a pause, and the record of its push, are kept while the store has a
  /// snapshot of it, or one arrives; the record also while one that descends from it needs it.
  [[nodiscard]] Status forget_pauses(const Store& store) const {
    if (options_.dry_run) return {};
    // Before anything that they may be about: what is counted or marked meanwhile stays.
    LAMINA_ASSIGN_OR_RETURN(std::vector<std::string> records, store::list_push_records(store));
    LAMINA_ASSIGN_OR_RETURN(std::vector<std::string> counts, store::list_counts(store));
    PresentPauses present;
    // A listing takes its time. A snapshot that is forked meanwhile, and removed or replaced under
    // its first name, may be listed under neither; the next listing has it.
    constexpr int kListings = 2;
    for (int i = 0; i < kListings && !(records.empty() && counts.empty()); ++i) {
      LAMINA_ASSIGN_OR_RETURN(const bool is_known, add_present(store, present));
      if (!is_known) return {};
      counts = store::counts_except(counts, present.ids);
      records = store::unneeded_push_records(records, present.lineages);
    }
    LAMINA_RETURN_IF_ERROR(store::remove_counts(store, counts));
    return store::remove_push_records(store, records);
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
  std::set<std::string> released_;  ///< pins that a dry run would release
};

}  // namespace

Result<RecoverReport> recover(const RecoverOptions& options) {
  return contain("recover", [&] { return Recover(options).run(); });
}

}  // namespace lamina
