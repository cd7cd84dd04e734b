// The VM that an operation works on, with its store and its pin.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "lamina/lifecycle.h"
#include "lamina/progress.h"
#include "lamina/result.h"
#include "lifecycle/claimed_cloud_hypervisor.h"
#include "lifecycle/jail.h"
#include "store/pin.h"
#include "store/store.h"
#include "vmm/firecracker/client.h"

namespace lamina::lifecycle {

/// While this exists, no other operation on the VM begins in this store: its pin is locked.
struct ClaimedVm {
  Jail jail;
  vmm::Firecracker vmm;
  std::shared_ptr<const store::Store> store;  ///< pins and pauses refer to it: its address stays
  store::Pin pin;
};

using AnyClaimedVm = std::variant<ClaimedVm, ClaimedCloudHypervisor>;

/// Called when the pin is locked, and nothing has been asked of the VMM. An error ends the claim.
using WhenPinned = std::function<Status(const store::Store&, const store::Pin&)>;

/// Finds the process that listens at the address, opens the store, locks the VM's pin, which is
/// made if there is none, calls `when_pinned`, which may be empty, and locks the VM (lock_vm());
/// then asks which VMM it is. `progress` may be null and is asked while the VMM is waited for; it
/// must outlive the result. kBusy if another operation has locked the pin or the VM; kUsage if the
/// path of store, socket or jail is not UTF-8; kFailed if the process, outside a jail, does not
/// find the store under its path, or if the jail is not its root; kUnsupported for a Cloud
/// Hypervisor in a jail.
Result<AnyClaimedVm> claim_vm(const VmmAddress& address, const std::string& store,
                              Progress* progress, std::vector<std::string>& notes,
                              const WhenPinned& when_pinned = {});

/// Removes a pin in which nothing was recorded, after an operation that has failed early.
void release_unused_pin(store::Pin& pin);

}  // namespace lamina::lifecycle
