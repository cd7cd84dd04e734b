#include "server/takeover.h"

#include <algorithm>
#include <cerrno>
#include <new>
#include <utility>
#include <vector>

#include "base/error.h"

namespace lamina::server {
namespace {

void say(const Log& log, const std::string& line) {
  if (log) log(line);
}

void end_unserved(const StateDirectory& states, const VmDirectory& directory, const Error& cause,
                  Totals& totals, const Log& log) {
  const auto killed = kill_if_waiting(directory.name());
  if (!killed) {
    // Its directory stays, so that the next start finds it.
    return say(log, fmt::format("VM {} can be neither served ({}) nor killed ({})",
                                directory.name(), cause.message, killed.error().message));
  }
  if (*killed) {
    ++totals.vms_killed;
    say(log, fmt::format("VM {} was killed, it cannot be served any more: {}", directory.name(),
                         cause.message));
  }
  states.remove(directory);
}

/// Nobody could serve it now, and perhaps later: an input or output error, a mode that was wrong
/// for a moment. What is not there, or is not what it was, stays so.
bool may_open_later(const Error& cause) {
  return cause.error_number != 0 && cause.kind != ErrorKind::kNotFound &&
         cause.kind != ErrorKind::kCorrupt;
}

void say_waits(const std::string& name, const Error& cause, const Log& log) {
  say(log, fmt::format("VM {} waits, and is tried again: {}", name, cause.message));
}

/// False when it is to be tried again.
bool take_over(const StateDirectory& states, Snapshots& snapshots, VmDirectory& directory, Vms& vms,
               Totals& totals, const Log& log) {
  const std::string name = directory.name();
  auto vm = reacquire_vm(states, directory);
  if (!vm && is_shortage(vm.error())) {
    say_waits(name, vm.error(), log);
    return false;
  }
  if (!vm) {
    end_unserved(states, directory, vm.error(), totals, log);
    return true;
  }
  const pid_t pid = (*vm)->state.record().pid;
  if (!admit_found_vm(states, snapshots, std::move(*vm), vms, totals, log)) return false;
  ++totals.vms_reacquired;
  say(log, fmt::format("process {} is served again", pid));
  return true;
}

}  // namespace

bool is_shortage(const Error& error) {
  switch (error.error_number) {
    case EAGAIN:
    case EINTR:
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
      return true;
    default:
      return false;
  }
}

int sooner(int a_ms, int b_ms) {
  if (a_ms < 0) return b_ms;
  return b_ms < 0 ? a_ms : std::min(a_ms, b_ms);
}

bool admit_found_vm(const StateDirectory& states, Snapshots& snapshots, std::unique_ptr<Vm> vm,
                    Vms& vms, Totals& totals, const Log& log) {
  std::vector<std::string> notes;
  auto service = snapshots.find(vm->state.record(), notes);
  for (const std::string& note : notes) say(log, note);
  if (!service && may_open_later(service.error())) {
    say_waits(vm->directory.name(), service.error(), log);
    return false;
  }
  if (!service) {
    end_unserved(states, vm->directory, service.error(), totals, log);
    return true;
  }
  vm->service = std::move(*service);
  vm->id = ++totals.sessions_started;
  vms[vm->id] = std::move(vm);
  return true;
}

Result<bool> take_over_abandoned(const StateDirectory& states, Snapshots& snapshots, Vms& vms,
                                 Totals& totals, const Log& log) {
  LAMINA_ASSIGN_OR_RETURN(std::vector<VmDirectory> abandoned, states.claim_abandoned());
  bool some_wait = false;
  for (VmDirectory& directory : abandoned) {
    try {
      some_wait |= !take_over(states, snapshots, directory, vms, totals, log);
    } catch (const std::bad_alloc&) {
      some_wait = true;
    }
  }
  return some_wait;
}

}  // namespace lamina::server
