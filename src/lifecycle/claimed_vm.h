// The VM that an operation works on, with its store and its pin.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "lamina/lifecycle.h"
#include "lamina/progress.h"
#include "lamina/result.h"
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

/// Connects to the VM's Firecracker, opens the store and locks the VM's pin, which is made if there
/// is none. `progress` may be null and is asked while Firecracker is waited for; it must outlive
/// the result. kBusy if another operation has locked the pin; kUsage if the path of store, socket
/// or jail is not UTF-8; kFailed if Firecracker, outside a jail, does not find the store under its
/// path.
Result<ClaimedVm> claim_vm(const VmmAddress& address, const std::string& store, Progress* progress,
                           std::vector<std::string>& notes);

/// Removes a pin in which nothing was recorded, after an operation that has failed early.
void release_unused_pin(store::Pin& pin);

}  // namespace lamina::lifecycle
