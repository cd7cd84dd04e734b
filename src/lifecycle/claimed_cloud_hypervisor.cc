#include "lifecycle/claimed_cloud_hypervisor.h"

#include <poll.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/error.h"
#include "lifecycle/visibility.h"
#include "lifecycle/vm.h"
#include "os/path_walk.h"
#include "os/poll.h"
#include "store/open_store.h"

namespace lamina::lifecycle {

Result<ClaimedCloudHypervisor> claim_cloud_hypervisor(const VmmAddress& address,
                                                      const std::string& store, Progress* progress,
                                                      std::vector<std::string>& notes) {
  if (!address.jail.empty()) {
    return with_remedy(
        fail(ErrorKind::kUnsupported,
             "a Cloud Hypervisor in a jail is not supported: it must see the store's files"),
        "leave out `jail`");
  }
  vmm::Timeouts timeouts;
  timeouts.request = address.timeouts.request;
  timeouts.create = address.timeouts.create;
  timeouts.load = address.timeouts.load;
  LAMINA_ASSIGN_OR_RETURN(vmm::CloudHypervisor vmm,
                          vmm::CloudHypervisor::connect(address.api_socket, timeouts, progress));
  LAMINA_ASSIGN_OR_RETURN(store::Store opened, store::open_store(store, notes));
  auto kept = std::make_shared<const store::Store>(std::move(opened));
  LAMINA_ASSIGN_OR_RETURN(const std::string path, recorded_path(kept->path()));
  LAMINA_RETURN_IF_ERROR(check_finds_store(vmm.pid(), path));
  LAMINA_ASSIGN_OR_RETURN(store::Pin pin, store::Pin::claim(*kept, vmm.pid(), vmm.start_time()));
  LAMINA_ASSIGN_OR_RETURN(std::string pin_path, os::real_path(pin.path()));
  return ClaimedCloudHypervisor{std::move(vmm), std::move(kept), std::move(pin),
                                std::move(pin_path)};
}

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
