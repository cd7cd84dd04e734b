#include "vmm/finish.h"

#include "base/error.h"
#include "sys/directory.h"
#include "sys/machine.h"
#include "sys/process.h"
#include "vmm/jail.h"
#include "vmm/stopwatch.h"

namespace lamina::vmm {
namespace {

Status move_pin(const store::PendingPause& pending, store::Pin& pin, std::string name) {
  LAMINA_ASSIGN_OR_RETURN(const store::OpenSnapshot state, store::open_snapshot(pending.path()));
  bool is_base = false;
  if (pin.has_base()) {
    const auto base = store::open_snapshot(pin.base_path());
    is_base = base && base->pause_id == state.pause_id;
  }
  if (!is_base) LAMINA_RETURN_IF_ERROR(pin.set_base(state));
  store::PinFacts facts = *pin.facts();
  facts.snapshot = std::move(name);
  facts.needs_full = false;
  return pin.write_facts(facts);
}

}  // namespace

Result<std::optional<store::OpenSnapshot>> open_base(const store::Store& store,
                                                     const store::Pin& pin) {
  if (!pin.has_base()) return std::nullopt;
  LAMINA_ASSIGN_OR_RETURN(store::OpenSnapshot base, store::open_snapshot(pin.base_path()));
  if (pin.facts() && !pin.facts()->snapshot.empty()) {
    auto named = store::open_snapshot(store.path() + "/" + pin.facts()->snapshot);
    if (named && named->pause_id == base.pause_id &&
        named->header.memory_bytes == base.header.memory_bytes &&
        named->chain.layers().size() < base.chain.layers().size()) {
      return std::optional(std::move(*named));
    }
  }
  return std::optional(std::move(base));
}

Result<FinishedPause> finish_pause(const store::Store& store, store::PendingPause& pending,
                                   store::Pin& pin, std::vector<std::string>& notes) {
  FinishedPause finished;
  Stopwatch watch;
  if (!pending.was_published()) {
    std::optional<store::OpenSnapshot> base;
    if (pending.journal().kind == MemoryFileKind::kDiff) {
      LAMINA_ASSIGN_OR_RETURN(base, open_base(store, pin));
    }
    LAMINA_ASSIGN_OR_RETURN(finished.found, pending.complete(base ? &*base : nullptr, notes));
    LAMINA_RETURN_IF_ERROR(move_pin(pending, pin, pending.journal().name));
  }
  finished.complete_ms = watch.lap();
  LAMINA_ASSIGN_OR_RETURN(finished.name, pending.publish(notes));
  finished.publish_ms = watch.lap();
  if (pin.facts() && pin.facts()->snapshot != finished.name) {
    store::PinFacts facts = *pin.facts();
    facts.snapshot = finished.name;
    LAMINA_RETURN_IF_ERROR(pin.write_facts(facts));
  }
  const auto base = store::open_snapshot(pin.base_path());
  if (base && base->pause_id == pending.journal().pause_id) {
    finished.generation = base->header.generation;
    finished.memory_bytes = base->header.memory_bytes;
  }
  return finished;
}

Status give_up_pause(store::PendingPause& pending, store::Pin& pin) {
  if (pin.facts() && !pin.facts()->needs_full) {
    store::PinFacts facts = *pin.facts();
    facts.needs_full = true;
    LAMINA_RETURN_IF_ERROR(pin.write_facts(facts));
  }
  return pending.discard();
}

bool leaves_running(const store::PauseJournal& journal) {
  return journal.acknowledged ? journal.after == AfterPause::kResume : journal.was_running;
}

Status settle_queue(const store::Store& store, store::Pin& pin, Firecracker& vmm,
                    std::vector<std::string>& notes) {
  LAMINA_ASSIGN_OR_RETURN(const std::vector<Uuid> ids, store::pending_pauses(store));
  for (const Uuid& id : ids) {
    // One that cannot be read may be of this VM, and what it is of must come first.
    LAMINA_ASSIGN_OR_RETURN(const std::optional<store::PauseJournal> journal,
                            store::read_pause_journal(store, id));
    if (!journal || journal->vm != pin.name()) continue;
    LAMINA_ASSIGN_OR_RETURN(std::optional<store::PendingPause> pending,
                            store::PendingPause::claim(store, id));
    if (!pending) {
      LAMINA_ASSIGN_OR_RETURN(const auto still, store::read_pause_journal(store, id));
      if (!still) continue;
      return fail(ErrorKind::kBusy,
                  "pause {} of this VM is queued and being completed; try again when it is",
                  id.to_string());
    }
    // Answered only after a create that still runs has ended.
    LAMINA_ASSIGN_OR_RETURN(const InstanceInfo instance, vmm.describe());
    if (instance.state == VmState::kPaused && leaves_running(pending->journal())) {
      LAMINA_RETURN_IF_ERROR(vmm.resume().status());
    }
    if (!pending->journal().acknowledged) {
      LAMINA_RETURN_IF_ERROR(give_up_pause(*pending, pin));
      notes.push_back(
          fmt::format("gave up pause {}, which was never acknowledged", id.to_string()));
      continue;
    }
    const auto finished = finish_pause(store, *pending, pin, notes);
    if (!finished) {
      return std::unexpected(with_context(
          fmt::format("pause {} of this VM is queued and must be completed first", id.to_string()),
          finished.error()));
    }
    LAMINA_RETURN_IF_ERROR(pending->end());
    notes.push_back(
        fmt::format("completed the queued pause {} as '{}'", id.to_string(), finished->name));
  }
  return {};
}

Status release_pin(store::Pin& pin) {
  if (pin.facts() && !pin.facts()->jail_directory.empty()) {
    // The jail may be gone with its VM, or be somebody's who does not let us.
    static_cast<void>(Jail::remove_directory(pin.facts()->jail_directory));
  }
  return pin.release();
}

Status stop_vm(Firecracker& vmm, store::Pin& pin) {
  LAMINA_RETURN_IF_ERROR(sys::kill_process(vmm.pidfd()));
  LAMINA_RETURN_IF_ERROR(sys::wait_for_end(vmm.pidfd()));
  return release_pin(pin);
}

Result<Firecracker> reach(const VmmAddress& address, Progress* progress) {
  Timeouts timeouts;
  timeouts.request = address.timeouts.request;
  timeouts.create = address.timeouts.create;
  timeouts.load = address.timeouts.load;
  return Firecracker::connect(address.api_socket, timeouts, progress);
}

Result<store::PinFacts> describe_vm(const Firecracker& vmm, const VmmAddress& address) {
  store::PinFacts facts;
  facts.pid = vmm.pid();
  facts.start_time = vmm.start_time();
  LAMINA_ASSIGN_OR_RETURN(facts.boot_id, sys::boot_id());
  facts.uid = vmm.uid();
  LAMINA_ASSIGN_OR_RETURN(facts.api_socket, sys::real_path(address.api_socket));
  if (!address.jail.empty()) {
    LAMINA_ASSIGN_OR_RETURN(facts.jail, sys::real_path(address.jail));
  }
  facts.since = store::timestamp_now();
  return facts;
}

store::Origin origin_here(const std::string& vmm_version) {
  return {vmm_version, sys::cpu_model(), sys::kernel_release()};
}

}  // namespace lamina::vmm
