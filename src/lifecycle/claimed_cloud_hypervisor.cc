#include "lifecycle/claimed_cloud_hypervisor.h"

#include <poll.h>

#include <algorithm>
#include <chrono>

#include "base/error.h"
#include "os/poll.h"

namespace lamina::lifecycle {

std::string recorded_version(const std::string& version) { return "cloud-hypervisor " + version; }

Status wait_for_return(vmm::CloudHypervisor& vmm, bool was_running) {
  constexpr int kLongestPauseMs = 50;
  const auto end = std::chrono::steady_clock::now() + vmm.timeouts().request;
  const vmm::VmState wanted = was_running ? vmm::VmState::kRunning : vmm::VmState::kPaused;
  for (int pause_ms = 1;; pause_ms = std::min(2 * pause_ms, kLongestPauseMs)) {
    LAMINA_ASSIGN_OR_RETURN(const vmm::VmInfo info, vmm.info());
    if (info.state == wanted || info.state == vmm::VmState::kNotStarted) return {};
    if (std::chrono::steady_clock::now() >= end) break;
    pollfd ended{vmm.pidfd(), POLLIN, 0};
    static_cast<void>(os::wait_for_events({&ended, 1}, pause_ms));
  }
  if (!was_running) return {};
  return vmm.resume().status();
}

}  // namespace lamina::lifecycle
