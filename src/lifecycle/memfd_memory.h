// The memory of a VM that cannot map a file of the store: memfds that lamina makes and fills, and
// that the VM maps shared.
//
// A memfd lives as long as a process has it open or mapped. lamina closes it after the load, so it
// is the VM's alone and ends with it. Nothing of it is recorded: later pauses compare all of the
// memory with the pin's base (guest_image.h).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>

#include "engine/chain.h"
#include "lamina/progress.h"
#include "lamina/result.h"
#include "os/fd.h"
#include "vmm/cloud_hypervisor/vm_configuration.h"

namespace lamina::lifecycle {

/// By slot.
using Memfds = std::map<std::uint32_t, os::Fd>;

/// Makes a memfd for each range of `layout`, on the pages that its zone has, and fills it with the
/// memory of `snapshot`. Each block is checked against its checksum; zeros are holes. All huge
/// pages are reserved, also those of holes, for as long as the memfd lives: the guest does not die
/// when the host's are used up. kNoSpace if the host has too few, kUnsupported if it has none of
/// that size or a range is not whole pages; kCorrupt; kInterrupted. `progress` may be null.
Result<Memfds> make_memfds(const vmm::MemoryLayout& layout,
                           const vmm::MemoryConfiguration& configuration,
                           const engine::Chain& snapshot, Progress* progress);

/// kUnsupported if process `pid` does not map each range from its memfd, shared, all of it exactly
/// once. Cloud Hypervisor does not look at the size of a memfd that it is sent.
Status check_maps_memfds(pid_t pid, const vmm::MemoryLayout& layout, const Memfds& memfds);

}  // namespace lamina::lifecycle
