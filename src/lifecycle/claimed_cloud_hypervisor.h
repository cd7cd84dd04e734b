// The Cloud Hypervisor that an operation works on, with its store and its pin.
#pragma once

#include <memory>
#include <string>

#include "lamina/result.h"
#include "store/pin.h"
#include "store/store.h"
#include "vmm/cloud_hypervisor/client.h"

namespace lamina::lifecycle {

/// As ClaimedVm: while this exists, the VM's pin is locked.
struct ClaimedCloudHypervisor {
  vmm::CloudHypervisor vmm;
  std::shared_ptr<const store::Store> store;  ///< pins and pauses refer to it: its address stays
  store::Pin pin;
  std::string pin_path;  ///< absolute; the process finds it there
};

/// Its version, as a snapshot's facts have it: "cloud-hypervisor v53.0".
std::string recorded_version(const std::string& version);

/// Waits until the VM is in the state that it was in before a migration that has ended early, and
/// lets it run if it should and does not.
Status wait_for_return(vmm::CloudHypervisor& vmm, bool was_running);

}  // namespace lamina::lifecycle
