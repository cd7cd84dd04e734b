#include "lifecycle/finish.h"

#include "base/error.h"
#include "base/stopwatch.h"
#include "lifecycle/last_create.h"
#include "lifecycle/map_record.h"
#include "lifecycle/pause_queue.h"
#include "os/file.h"
#include "store/snapshot_directory.h"

namespace lamina::lifecycle {
namespace {

/// True if this pause is the pin's base already.
Result<bool> is_base(const store::Pin& pin, const Uuid& pause_id) {
  if (!pin.has_base()) return false;
  LAMINA_ASSIGN_OR_RETURN(const store::SnapshotIdentity base,
                          store::identify_snapshot(pin.base_path()));
  if (base.pause_id != pause_id) return false;
  LAMINA_RETURN_IF_ERROR(store::open_snapshot(pin.base_path(), engine::Checksums::kSkip));
  return true;
}

Status move_pin(const store::OpenSnapshot& state, store::Pin& pin, std::string name) {
  store::PinFacts facts = *pin.facts();
  facts.snapshot = std::move(name);
  facts.needs_full = false;
  LAMINA_ASSIGN_OR_RETURN(const auto from_map, read_map_record(pin));
  if (from_map) {
    // Its changes count from its map, so its base stays what it is.
    LAMINA_RETURN_IF_ERROR(write_map_record(pin, {state.pause_id}));
    return pin.write_facts(facts);
  }
  facts.base_in_flight = false;
  // If the present base cannot be read, it is replaced too.
  if (!is_base(pin, state.pause_id).value_or(false)) return pin.set_base_and_facts(state, facts);
  return pin.write_facts(facts);
}

Status thaw_counted(vmm::Vmm& vmm, SettledPauses& settled) {
  // If a pause into another store has frozen it, it stays frozen until that pause has ended.
  LAMINA_RETURN_IF_ERROR(lock_vm(vmm));
  const Status resumed = vmm.resume().status();
  unlock_vm(vmm);
  LAMINA_RETURN_IF_ERROR(resumed);
  ++settled.resumed_vms;
  settled.notes.push_back(
      fmt::format("the VM of process {} runs again; its pause had not ended", vmm.pid()));
  return {};
}

}  // namespace

Result<std::optional<store::OpenSnapshot>> open_base(const store::Store& store,
                                                     const store::Pin& pin) {
  if (!pin.has_base()) return std::nullopt;
  LAMINA_ASSIGN_OR_RETURN(store::OpenSnapshot base,
                          store::open_snapshot(pin.base_path(), engine::Checksums::kSkip));
  if (pin.facts() && !pin.facts()->snapshot.empty()) {
    // A snapshot that was not merged since has the very header of the pin's base.
    const std::string header = pin.facts()->snapshot + "/" + store::kHeaderName;
    const auto there = os::facts_of_name(store.fd(), header, store.path() + "/" + header);
    if (there && there->same_file(base.header_file.facts)) return std::optional(std::move(base));
    auto named =
        store::open_snapshot(store.path() + "/" + pin.facts()->snapshot, engine::Checksums::kSkip);
    if (named && named->pause_id == base.pause_id &&
        named->header.memory_bytes == base.header.memory_bytes &&
        named->chain.layers().size() < base.chain.layers().size()) {
      return std::optional(std::move(*named));
    }
  }
  return std::optional(std::move(base));
}

Result<bool> has_lost_files(const PendingPause& pending, const store::Pin& pin) {
  if (!pending.was_published()) return pending.has_lost_files();
  // The pin gets its new base, or a record of it, before the directory gets its name.
  LAMINA_ASSIGN_OR_RETURN(const auto from_map, read_map_record(pin));
  if (from_map && from_map->last_pause == pending.journal().pause_id) return false;
  LAMINA_ASSIGN_OR_RETURN(const bool moved, is_base(pin, pending.journal().pause_id));
  return !moved;
}

Result<FinishedPause> finish_pause(const store::Store& store, PendingPause& pending,
                                   store::Pin& pin, std::vector<std::string>& notes) {
  FinishedPause finished;
  Stopwatch watch;
  if (!pending.was_published()) {
    std::optional<store::OpenSnapshot> base;
    if (pending.journal().kind == MemoryFileKind::kDiff) {
      LAMINA_ASSIGN_OR_RETURN(base, open_base(store, pin));
    }
    LAMINA_ASSIGN_OR_RETURN(finished.found, pending.complete(base ? &*base : nullptr, notes));
    LAMINA_ASSIGN_OR_RETURN(const store::OpenSnapshot state,
                            store::open_snapshot(pending.path(), engine::Checksums::kSkip));
    LAMINA_RETURN_IF_ERROR(move_pin(state, pin, pending.journal().name));
    finished.generation = state.header.generation;
    finished.memory_bytes = state.header.memory_bytes;
  }
  finished.complete_ms = watch.lap();
  LAMINA_ASSIGN_OR_RETURN(finished.name, pending.publish(notes));
  finished.publish_ms = watch.lap();
  if (pin.facts() && pin.facts()->snapshot != finished.name) {
    store::PinFacts facts = *pin.facts();
    facts.snapshot = finished.name;
    LAMINA_RETURN_IF_ERROR(pin.write_facts(facts));
  }
  return finished;
}

Status give_up_pause(PendingPause& pending, store::Pin& pin) {
  // The files first: that frees space, and the rest may need some. As long as the journal exists,
  // no diff is taken.
  LAMINA_RETURN_IF_ERROR(pending.remove_files());
  LAMINA_RETURN_IF_ERROR(require_full(pin));
  return pending.end();
}

Status require_full(store::Pin& pin) {
  if (!pin.facts() || pin.facts()->needs_full) return {};
  store::PinFacts facts = *pin.facts();
  facts.needs_full = true;
  return pin.write_facts(facts);
}

Status settle_pause(const store::Store& store, PendingPause& pending, store::Pin& pin,
                    vmm::Vmm& vmm, Mutex& completing, SettledPauses& settled) {
  const store::PauseJournal journal = pending.journal();
  const std::string id = journal.pause_id.to_string();
  // Firecracker serves one request at a time: once this returns, any earlier create has finished.
  LAMINA_ASSIGN_OR_RETURN(const vmm::InstanceInfo instance, vmm.describe());
  const bool is_paused = instance.state == vmm::VmState::kPaused;
  // Resume it first: the journal, which says that it must run, still exists; and once a checkpoint
  // is acknowledged, its VM need not wait for the rest.
  const bool must_run =
      pending.is_acknowledged() ? journal.after == AfterPause::kResume : journal.was_running;
  if (is_paused && must_run) LAMINA_RETURN_IF_ERROR(thaw_counted(vmm, settled));
  if (!pending.is_acknowledged()) {
    LAMINA_RETURN_IF_ERROR(give_up_pause(pending, pin));
    ++settled.discarded;
    settled.notes.push_back(fmt::format("gave up pause {}, which was never acknowledged", id));
    return {};
  }
  const MutexLock one_at_a_time(completing);
  LAMINA_ASSIGN_OR_RETURN(const bool lost, has_lost_files(pending, pin));
  if (lost) {
    // The VM still has all of its memory: a full memory file replaces what was lost.
    LAMINA_RETURN_IF_ERROR(require_full(pin));
    settled.notes.push_back(
        fmt::format("the files of pause {} have been removed by somebody; its snapshot '{}' cannot "
                    "be made, and the VM's next memory file is a full one",
                    id, journal.name));
    if (pending.is_in_memory()) LAMINA_RETURN_IF_ERROR(pending.remove_files());
    return pending.end();
  }
  LAMINA_ASSIGN_OR_RETURN(FinishedPause finished, finish_pause(store, pending, pin, settled.notes));
  ++settled.completed;
  settled.notes.push_back(fmt::format("completed pause {} as '{}'", id, finished.name));
  if (is_paused && journal.after == AfterPause::kStop) {
    // It cannot be told whether this pause has paused it, or a person since.
    settled.notes.push_back(
        fmt::format("process {} stays paused; it was to be stopped after pause {}", vmm.pid(), id));
  }
  LAMINA_RETURN_IF_ERROR(pending.end());
  finished.found.spare.release(store.path() + "/" + finished.name, settled.notes);
  return {};
}

Status settle_queue(const store::Store& store, store::Pin& pin, vmm::Vmm& vmm,
                    std::vector<std::string>& notes) {
  LAMINA_ASSIGN_OR_RETURN(const PendingPauses pauses, pending_pauses(store));
  if (!pauses.unreadable.empty()) {
    return with_remedy(fail(ErrorKind::kFailed,
                            "{}; it may be of an earlier pause of this VM, which must come first",
                            pauses.unreadable.front()),
                       "try again, or give that pause up: lamina recover {} --give-up PAUSE-ID",
                       store.path());
  }
  for (const store::PauseJournal& journal : pauses.journals) {
    if (journal.vm != pin.name()) continue;
    const Uuid& id = journal.pause_id;
    LAMINA_ASSIGN_OR_RETURN(std::optional<PendingPause> pending, PendingPause::claim(store, id));
    if (!pending) {
      LAMINA_ASSIGN_OR_RETURN(const auto still, store::read_pause_journal(store, id));
      if (!still) continue;
      return fail(ErrorKind::kBusy, "another process is at work on pause {} of this VM; try again",
                  id.to_string());
    }
    SettledPauses settled;
    Mutex completing;  // nobody else's
    const Status done = settle_pause(store, *pending, pin, vmm, completing, settled);
    notes.insert(notes.end(), settled.notes.begin(), settled.notes.end());
    if (!done) {
      return std::unexpected(with_context(
          fmt::format("pause {} of this VM is queued and must be completed first", id.to_string()),
          done.error()));
    }
  }
  return {};
}

}  // namespace lamina::lifecycle
