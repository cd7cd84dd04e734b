#include "server/predecessor.h"

#include <signal.h>
#include <sys/wait.h>

#include <chrono>
#include <string>

#include "base/error.h"
#include "os/process.h"

namespace lamina::server {

bool serves_still(InheritedState& state) {
  if (state.worker <= 0) return false;
  if (::waitpid(state.worker, nullptr, WNOHANG) == 0) return true;
  state.worker = -1;
  return false;
}

void end_serving_process(InheritedState& state) {
  if (!serves_still(state)) return;
  const auto pidfd = os::open_process(state.worker);
  ::kill(state.worker, SIGKILL);
  // A process that a tracer holds at its end does not serve any more.
  constexpr std::chrono::seconds kLongest{10};
  if (pidfd) static_cast<void>(os::wait_for_end(pidfd->get(), kLongest));
  ::waitpid(state.worker, nullptr, WNOHANG);
}

Result<std::vector<Result<Service>>> open_services(InheritedState& state, Snapshots& snapshots) {
  std::vector<Result<Service>> services;
  services.reserve(state.vms.size());
  for (const std::unique_ptr<Vm>& vm : state.vms) {
    std::vector<std::string> notes;
    services.push_back(snapshots.find(vm->state.record(), notes));
    const auto& service = services.back();
    // A pin goes with its VM.
    if (service || os::has_ended(vm->pidfd.get())) continue;
    const bool never =
        service.error().kind == ErrorKind::kNotFound || service.error().kind == ErrorKind::kCorrupt;
    if (!never || state.is_trial || serves_still(state)) {
      return std::unexpected(
          with_context(fmt::format("VM {}", vm->directory.name()), service.error()));
    }
  }
  return services;
}

}  // namespace lamina::server
