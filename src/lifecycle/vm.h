// The VM behind an API socket, and its pin.
#pragma once

#include <string>
#include <vector>

#include "lamina/lifecycle.h"
#include "lamina/progress.h"
#include "lamina/result.h"
#include "store/pin.h"
#include "store/snapshot_facts.h"
#include "vmm/connect.h"

namespace lamina::lifecycle {

/// Kills the process of a paused VM, waits for its end and releases its pin. kFailed if the VM
/// runs. If the process has not ended within the time limit of a request, its pin stays, and a note
/// says what holds the process; a note also if the pin cannot be released.
Status stop_vm(vmm::Vmm& vmm, store::Pin& pin, std::vector<std::string>& notes);

/// Removes the directory that a resume has made in the VM's jail, if the pin records one.
void remove_jail_directory(const store::Pin& pin);

/// Removes the pin of a VM that has ended, and its directory in the jail.
Status release_pin(store::Pin& pin);

/// The same for a VM whose pause is complete, which does not fail by that: a note says so.
void release_pin_of_stopped(store::Pin& pin, std::vector<std::string>& notes);

/// Connects to the VMM at the address, whichever it is (vmm::connect()). kUsage for paths that are
/// not UTF-8.
Result<vmm::AnyVmm> reach(const VmmAddress& address, Progress* progress,
                          const vmm::WhenIdentified& when_identified);

/// `path` as it is written into records: absolute and without links. kUsage if that is not UTF-8.
Result<std::string> recorded_path(const std::string& path);

/// The facts (vm.json) for the pin of a VM that is new to the store.
Result<store::PinFacts> describe_vm(const vmm::Vmm& vmm, const VmmAddress& address);

/// What differs between where a state was made and here, one line each. `vmm`: its name.
std::vector<std::string> differences(const store::Origin& then, const store::Origin& now,
                                     const char* vmm);

/// The host that this process runs on: a resume on another one compares.
store::Origin origin_here(const std::string& vmm_version);

}  // namespace lamina::lifecycle
