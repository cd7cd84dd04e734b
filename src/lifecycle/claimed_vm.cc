#include "lifecycle/claimed_vm.h"

#include <utility>

#include "base/error.h"
#include "lifecycle/visibility.h"
#include "lifecycle/vm.h"
#include "store/open_store.h"

namespace lamina::lifecycle {
namespace {

Result<vmm::Firecracker> reach_named(const VmmAddress& address, Progress* progress) {
  auto vmm = reach(address, progress);
  if (vmm || vmm.error().kind != ErrorKind::kNotFound) return vmm;
  return with_remedy(std::unexpected(std::move(vmm.error())),
                     "name the API socket of a running Firecracker");
}

}  // namespace

Result<ClaimedVm> claim_vm(const VmmAddress& address, const std::string& store, Progress* progress,
                           std::vector<std::string>& notes) {
  LAMINA_ASSIGN_OR_RETURN(Jail jail, Jail::open(address.jail));
  LAMINA_ASSIGN_OR_RETURN(vmm::Firecracker vmm, reach_named(address, progress));
  LAMINA_ASSIGN_OR_RETURN(store::Store opened, store::open_store(store, notes));
  auto kept = std::make_shared<const store::Store>(std::move(opened));
  if (!jail.is_apart()) {
    // Firecracker is told paths in it, and takes UTF-8 only.
    LAMINA_ASSIGN_OR_RETURN(const std::string path, recorded_path(kept->path()));
    LAMINA_RETURN_IF_ERROR(check_finds_store(vmm.pid(), path));
  }
  LAMINA_ASSIGN_OR_RETURN(store::Pin pin, store::Pin::claim(*kept, vmm.pid(), vmm.start_time()));
  return ClaimedVm{std::move(jail), std::move(vmm), std::move(kept), std::move(pin)};
}

void release_unused_pin(store::Pin& pin) {
  if (!pin.facts() && !pin.has_base()) static_cast<void>(pin.release());
}

}  // namespace lamina::lifecycle
