#include "lifecycle/cloud_hypervisor.h"

#include <array>
#include <utility>

#include "base/error.h"
#include "lifecycle/vm.h"
#include "os/file.h"
#include "vmm/cloud_hypervisor/client.h"
#include "vmm/cloud_hypervisor/vm_state.h"

namespace lamina::lifecycle {
namespace {

vmm::Timeouts timeouts_of(const VmmAddress& address) {
  vmm::Timeouts timeouts;
  timeouts.request = address.timeouts.request;
  timeouts.create = address.timeouts.create;
  timeouts.load = address.timeouts.load;
  return timeouts;
}

}  // namespace

bool runs_cloud_hypervisor(const VmmAddress& address, Progress* progress) {
  return vmm::is_cloud_hypervisor(address.api_socket, timeouts_of(address), progress);
}

Result<std::unique_ptr<vmm::Vmm>> reach_any(const VmmAddress& address, Progress* progress) {
  if (runs_cloud_hypervisor(address, progress)) {
    LAMINA_ASSIGN_OR_RETURN(
        vmm::CloudHypervisor vmm,
        vmm::CloudHypervisor::connect(address.api_socket, timeouts_of(address), progress));
    return std::make_unique<vmm::CloudHypervisor>(std::move(vmm));
  }
  LAMINA_ASSIGN_OR_RETURN(vmm::Firecracker vmm, reach(address, progress));
  return std::make_unique<vmm::Firecracker>(std::move(vmm));
}

Status check_is_firecrackers(const store::OpenSnapshot& snapshot) {
  constexpr std::size_t kEnough = 64;
  if (!snapshot.vmstate_file) return {};
  std::array<std::byte, kEnough> beginning{};
  LAMINA_ASSIGN_OR_RETURN(const std::size_t count, os::read_at(snapshot.vmstate_file->fd.get(),
                                                               beginning, 0, snapshot.path));
  if (!vmm::is_saved_vm(std::span(beginning).first(count))) return {};
  return with_remedy(
      fail(ErrorKind::kUnsupported,
           "snapshot '{}' is of a Cloud Hypervisor VM, which Firecracker cannot load",
           snapshot.path),
      "name the API socket of a Cloud Hypervisor");
}

}  // namespace lamina::lifecycle
