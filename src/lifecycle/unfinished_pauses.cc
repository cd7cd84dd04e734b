#include "lifecycle/unfinished_pauses.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <iterator>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "base/contain.h"
#include "base/error.h"
#include "base/mutex.h"
#include "lifecycle/finish.h"
#include "lifecycle/pending_pause.h"
#include "lifecycle/vm.h"
#include "os/blocked_signals.h"
#include "store/areas.h"
#include "store/pin.h"
#include "vmm/connect.h"

namespace lamina::lifecycle {
namespace {

using store::Pin;
using store::Store;

/// A Progress for several threads, one call at a time.
class SharedProgress {
 public:
  /// `progress` may be null.
  explicit SharedProgress(Progress* progress) : progress_(progress) {}

  void begin(std::uint64_t total_bytes) {
    const MutexLock lock(mutex_);
    if (progress_ != nullptr) progress_->begin("completing pauses", total_bytes);
  }
  void advance(std::uint64_t bytes) {
    const MutexLock lock(mutex_);
    if (progress_ != nullptr) progress_->advance(bytes);
  }
  /// Once true, it stays true.
  bool interrupted() {
    const MutexLock lock(mutex_);
    if (progress_ != nullptr) interrupted_ = interrupted_ || progress_->interrupted();
    return interrupted_;
  }

 private:
  Mutex mutex_;
  Progress* progress_ LAMINA_GUARDED_BY(mutex_);
  bool interrupted_ LAMINA_GUARDED_BY(mutex_) = false;
};

/// VMs that are asked at the same time: one that does not answer delays no other.
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
  EndOfPauses(const RecoverOptions& options, const Store& store, Mutex& completing,
              SharedProgress& progress)
      : options_(options), store_(store), completing_(completing), progress_(progress) {}

  RecoverReport run(const std::vector<const store::PauseJournal*>& pauses) {
    for (const store::PauseJournal* journal : pauses) {
      if (progress_.interrupted()) break;
      const Status ended = end_pause(*journal);
      progress_.advance(journal->memory_bytes);
      if (ended) continue;
      ++report_.queued;
      report_.notes.push_back(fmt::format("pause {} stays queued: {}",
                                          journal->pause_id.to_string(), one_line(ended.error())));
    }
    return std::move(report_);
  }

 private:
  Status end_pause(const store::PauseJournal& seen) {
    const Uuid& id = seen.pause_id;
    auto pin = Pin::claim_existing(store_, seen.vm);
    // Another process works on this VM.
    if (!pin && pin.error().kind == ErrorKind::kBusy) return {};
    if (!pin) return std::unexpected(pin.error());
    LAMINA_ASSIGN_OR_RETURN(std::optional<PendingPause> pending, PendingPause::claim(store_, id));
    if (!pending) return {};
    if (is_given_up(id) && !options_.dry_run) return give_up(*pending, *pin);
    if (!*pin || !(*pin)->facts()) return end_without_pin(*pending);
    if (options_.dry_run) {
      ++(pending->is_acknowledged() ? report_.completed : report_.discarded);
      return {};
    }
    LAMINA_ASSIGN_OR_RETURN(const bool runs, store::is_running(*(*pin)->facts()));
    if (!runs) return end_without_vm(*pending, **pin);
    const Status ended = end_with_vm(*pending, **pin);
    if (ended) return {};
    LAMINA_ASSIGN_OR_RETURN(const bool still_runs, store::is_running(*(*pin)->facts()));
    if (still_runs) return ended;
    // The VM ended while it was asked: what was begun is begun anew, without it.
    pending.reset();
    LAMINA_ASSIGN_OR_RETURN(std::optional<PendingPause> again, PendingPause::claim(store_, id));
    return again ? end_without_vm(*again, **pin) : Status();
  }

  [[nodiscard]] bool is_given_up(const Uuid& id) const {
    return std::find(options_.give_up.begin(), options_.give_up.end(), id) !=
           options_.give_up.end();
  }

  Status give_up(PendingPause& pending, std::optional<Pin>& pin) {
    LAMINA_RETURN_IF_ERROR(pending.remove_files());
    if (pin) LAMINA_RETURN_IF_ERROR(require_full(*pin));
    ++report_.discarded;
    return pending.end();
  }

  /// lamina never removes a pin before its pauses have ended: it was removed by hand.
  Status end_without_pin(PendingPause& pending) {
    if (pending.is_acknowledged() && !pending.was_published()) {
      return fail(ErrorKind::kFailed, "the pin '{}/{}/{}' of its VM is missing", store_.path(),
                  store::kVmsArea, pending.journal().vm);
    }
    if (options_.dry_run) return {};
    if (!pending.is_acknowledged()) {
      ++report_.discarded;
      LAMINA_RETURN_IF_ERROR(pending.remove_files());
    }
    return pending.end();
  }

  Status end_without_vm(PendingPause& pending, Pin& pin) {
    if (pending.may_be_unseen()) {
      return with_remedy(
          fail(ErrorKind::kFailed,
               "its VM has ended, and its memory file may be in '{}', which this process does not "
               "see: it has another mount namespace than the pause had, or the tmpfs is unmounted",
               pending.journal().freeze_directory.path),
          "run lamina recover where that directory is seen, or give the pause up: lamina recover "
          "{} --give-up {}",
          store_.path(), pending.journal().pause_id.to_string());
    }
    if (!pending.is_acknowledged()) {
      ++report_.discarded;
      return give_up_pause(pending, pin);
    }
    LAMINA_ASSIGN_OR_RETURN(const bool lost, has_lost_files(pending, pin));
    if (lost) {
      return with_remedy(
          fail(ErrorKind::kFailed,
               "its files have been removed by somebody and its VM has ended, so its state is "
               "lost"),
          "give it up: lamina recover {} --give-up {}", store_.path(),
          pending.journal().pause_id.to_string());
    }
    const MutexLock one_at_a_time(completing_);
    LAMINA_ASSIGN_OR_RETURN(FinishedPause finished,
                            finish_pause(store_, pending, pin, report_.notes));
    ++report_.completed;
    report_.notes.push_back(fmt::format("completed pause {} as '{}'",
                                        pending.journal().pause_id.to_string(), finished.name));
    LAMINA_RETURN_IF_ERROR(pending.end());
    finished.found.spare.release(store_.path() + "/" + finished.name, report_.notes);
    return {};
  }

  Status end_with_vm(PendingPause& pending, Pin& pin) {
    const store::PauseJournal journal = pending.journal();
    bool is_other = false;
    const auto check = [&](const vmm::Vmm& found) -> Status {
      is_other = found.pid() != pin.facts()->pid || found.start_time() != pin.facts()->start_time;
      if (!is_other) return {};
      return fail(ErrorKind::kFailed, "another process answers at '{}' than VM {}",
                  journal.api_socket, pin.name());
    };
    auto vmm = reach({journal.api_socket, "", options_.timeouts}, nullptr, check);
    if (!vmm) {
      if (is_other) return std::unexpected(vmm.error());
      LAMINA_ASSIGN_OR_RETURN(const bool runs, store::is_running(*pin.facts()));
      if (!runs) return end_without_vm(pending, pin);
      return std::unexpected(vmm.error());
    }
    SettledPauses settled;
    const Status done = settle_pause(store_, pending, pin, vmm::common(*vmm), completing_, settled);
    report_.completed += settled.completed;
    report_.discarded += settled.discarded;
    report_.resumed_vms += settled.resumed_vms;
    report_.notes.insert(report_.notes.end(), settled.notes.begin(), settled.notes.end());
    return done;
  }

  const RecoverOptions& options_;
  const Store& store_;
  Mutex& completing_;  ///< one memory file at a time is read and written
  SharedProgress& progress_;
  RecoverReport report_;
};

using Journals = std::vector<const store::PauseJournal*>;

std::vector<Journals> by_vm(const std::vector<store::PauseJournal>& journals) {
  std::map<std::string, Journals> sorted;
  for (const store::PauseJournal& journal : journals) sorted[journal.vm].push_back(&journal);
  std::vector<Journals> vms;
  vms.reserve(sorted.size());
  for (auto& [name, of_vm] : sorted) vms.push_back(std::move(of_vm));
  return vms;
}

}  // namespace

Status end_pauses(const Store& store, const std::vector<store::PauseJournal>& journals,
                  const RecoverOptions& options, RecoverReport& report) {
  const std::vector<Journals> vms = by_vm(journals);
  SharedProgress progress(options.progress);
  std::uint64_t total_bytes = 0;
  for (const store::PauseJournal& journal : journals) total_bytes += journal.memory_bytes;
  if (!vms.empty()) progress.begin(total_bytes);
  std::vector<RecoverReport> reports(vms.size());
  std::vector<Status> results(vms.size());
  std::atomic<std::size_t> next{0};
  Mutex completing;
  const auto work = [&] {
    for (std::size_t i = next++; i < vms.size(); i = next++) {
      results[i] = contain("recover", [&]() -> Status {
        reports[i] = EndOfPauses(options, store, completing, progress).run(vms[i]);
        return {};
      });
    }
  };
  {
    std::vector<std::jthread> others;
    while (others.size() + 1 < std::min(vms.size(), kMostAtOnce)) {
      try {
        const os::BlockedSignals inherited(os::BlockedSignals::Which::kSent);
        others.emplace_back(work);
      } catch (const std::exception&) {
        break;  // no more threads, or no memory for them: one after the other
      }
    }
    work();
  }
  for (std::size_t i = 0; i < vms.size(); ++i) {
    add(report, std::move(reports[i]));
    if (results[i]) continue;
    report.queued += vms[i].size();
    report.notes.push_back(fmt::format("pauses of VM {} stay queued: {}", vms[i].front()->vm,
                                       one_line(results[i].error())));
  }
  if (progress.interrupted()) return fail(ErrorKind::kInterrupted, "interrupted");
  return {};
}

}  // namespace lamina::lifecycle
