// The VM state file: to everybody but this program opaque bytes that belong to one memory file.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lamina/result.h"
#include "stand_ins/firecracker/page_model.h"

namespace lamina::tests {

/// What a guest is beside its memory.
struct VmState {
  std::string guest_id;       ///< of the first VM of this lineage
  std::uint64_t creates = 0;  ///< snapshots taken in this lineage
  std::uint64_t random = 0;   ///< where the guest's random numbers stand
  std::uint64_t vcpus = 1;
  std::uint64_t memory_mib = 0;       ///< of the machine's configuration
  std::uint64_t hotplug_mib = 0;      ///< hotpluggable memory, the last region; 0: none
  std::uint64_t plugged_mib = 0;      ///< the part of it that the guest uses, from its start
  std::string huge_pages = "None";    ///< "None", "2M", "Transparent"
  std::vector<std::string> networks;  ///< ids of the network interfaces
  bool has_vsock = false;
  bool has_queues = true;  ///< there are virtio devices whose queues count as dirty
  std::vector<std::uint64_t> region_bytes;
  PageModel pages{0};  ///< of all memory but the unplugged part
};

/// Creates or replaces the file and syncs it. Errors are in Firecracker's words.
Status write_state_file(const std::string& path, const VmState& state);

/// Refuses a file that is damaged or none of ours. Errors are in Firecracker's words.
Result<VmState> read_state_file(const std::string& path);

}  // namespace lamina::tests
