// The VM behind an API socket, and its pin: reached, described, stopped.
#pragma once

#include <string>
#include <vector>

#include "lamina/lifecycle.h"
#include "lamina/progress.h"
#include "lamina/result.h"
#include "store/pin.h"
#include "store/snapshot_facts.h"
#include "vmm/firecracker/client.h"

namespace lamina::lifecycle {

/// Kills the process of a paused VM, waits for its end and releases its pin. kFailed when the VM
/// runs. A process that is still there after the time for a short answer keeps its pin, and a note
/// says what holds it.
Status stop_vm(vmm::Firecracker& vmm, store::Pin& pin, std::vector<std::string>& notes);

/// Removes what a resume has made in the VM's jail, if its pin has that on record.
void remove_jail_directory(const store::Pin& pin);

/// Removes the pin of a VM that has ended, and what was made for it in its jail.
Status release_pin(store::Pin& pin);

/// Firecracker::connect() to an address of the public interface, whose jail must be the root of the
/// process that answers. kUsage for paths that are not UTF-8.
Result<vmm::Firecracker> reach(const VmmAddress& address, Progress* progress);

/// `path` as it is put on record: absolute and without links. kUsage when that is not UTF-8.
Result<std::string> recorded_path(const std::string& path);

/// vm.json of a VM that is new to the store.
Result<store::PinFacts> describe_vm(const vmm::Firecracker& vmm, const VmmAddress& address);

/// Where this process runs, for who resumes the state elsewhere.
store::Origin origin_here(const std::string& vmm_version);

}  // namespace lamina::lifecycle
