#include "lifecycle/cloud_hypervisor.h"

#include <array>

#include "base/error.h"
#include "os/file.h"
#include "vmm/cloud_hypervisor/vm_state.h"

namespace lamina::lifecycle {

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
