#include "server/takeover.h"

#include <algorithm>
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

}  // namespace

int sooner(int a_ms, int b_ms) {
  if (a_ms < 0) return b_ms;
  return b_ms < 0 ? a_ms : std::min(a_ms, b_ms);
}

void admit_found_vm(const StateDirectory& states, Snapshots& snapshots, std::unique_ptr<Vm> vm,
                    Vms& vms, Totals& totals, const Log& log) {
  std::vector<std::string> notes;
  auto service = snapshots.find(vm->state.record(), notes);
  for (const std::string& note : notes) say(log, note);
  if (!service) return end_unserved(states, vm->directory, service.error(), totals, log);
  vm->service = std::move(*service);
  vm->id = ++totals.sessions_started;
  vms[vm->id] = std::move(vm);
}

Status take_over_abandoned(const StateDirectory& states, Snapshots& snapshots, Vms& vms,
                           Totals& totals, const Log& log) {
  LAMINA_ASSIGN_OR_RETURN(std::vector<VmDirectory> abandoned, states.claim_abandoned());
  for (VmDirectory& directory : abandoned) {
    auto vm = reacquire_vm(states, directory);
    if (vm) {
      ++totals.vms_reacquired;
      say(log, fmt::format("process {} is served again", (*vm)->state.record().pid));
      admit_found_vm(states, snapshots, std::move(*vm), vms, totals, log);
    } else {
      end_unserved(states, directory, vm.error(), totals, log);
    }
  }
  return {};
}

}  // namespace lamina::server
