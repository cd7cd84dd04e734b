// Firecracker's API bodies: values to JSON and bytes back to values. Pure; whatever the bytes, a
// decoder yields a value or an error.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lamina/result.h"

namespace lamina::vmm {

enum class VmState : std::uint8_t { kNotStarted, kRunning, kPaused };

/// What `GET /` tells. The texts have no control characters.
struct InstanceInfo {
  std::string id;
  VmState state = VmState::kNotStarted;
  std::string version;  ///< vmm_version; see firecracker_version.h
};

/// What `GET /machine-config` tells.
struct MachineConfig {
  std::uint64_t memory_mib = 0;  ///< above 0; its blocks can be counted (kMaxBlocks)
  std::uint32_t vcpu_count = 0;
  bool track_dirty_pages = false;
  std::string huge_pages = "None";  ///< or "2M", "Transparent"; versions that know none don't tell
};

enum class SnapshotType : std::uint8_t { kFull, kDiff };

/// What `PUT /snapshot/create` writes. Paths are as Firecracker sees them (it may live in a
/// chroot).
struct CreateRequest {
  SnapshotType type = SnapshotType::kFull;
  std::string state_path;
  /// Fresh: a Diff onto an existing file of the memory's size would be merged into it.
  std::string memory_path;
};

enum class MemoryBackend : std::uint8_t { kFile, kUffd };

/// Another host device for a network interface of the snapshot.
struct NetworkOverride {
  std::string interface_id;
  std::string host_device;
};

/// What `PUT /snapshot/load` reads. Dirty pages are always tracked: a snapshot does not say whether
/// they were, and without it the next Diff would hold all that is resident. What a version does not
/// know must not be asked for (firecracker_version.h).
struct LoadRequest {
  std::string state_path;
  MemoryBackend backend = MemoryBackend::kFile;
  std::string backend_path;  ///< the memory file, or the page server's socket
  bool resume_vm = false;
  std::vector<NetworkOverride> network_overrides;
  std::optional<std::string> vsock_path;  ///< another host socket for the VM's vsock device
  bool clock_realtime = false;            ///< the guest's clock goes on by the time that has passed
  std::optional<std::string>
      huge_pages;  ///< "None", "2M" or "Transparent", not as the state has it
  /// Calls the tracking of dirty pages `enable_diff_snapshots`, as versions before 1.13 do.
  bool is_before_1_13 = false;
};

/// The bodies of requests. Only fields that are asked for are written: older versions refuse those
/// they don't know. kUsage for a text that is empty, holds a NUL or is not UTF-8: JSON can't carry
/// it, so Firecracker could never be told.
Result<std::string> encode_create(const CreateRequest& request);
Result<std::string> encode_load(const LoadRequest& request);

/// The bodies of answers. kFailed for what is not of the expected form; unknown fields are ignored.
Result<InstanceInfo> decode_instance_info(std::string_view bytes);
Result<MachineConfig> decode_machine_config(std::string_view bytes);
/// Of `GET /hotplug/memory`: how many MiB can be plugged, which the memory file has, plugged or
/// not.
Result<std::uint64_t> decode_hotplug_memory_mib(std::string_view bytes);

/// What an error answer says, fit to be shown: its `fault_message`, else the start of whatever it
/// holds instead. Never empty, control characters replaced, at most 4 KiB.
std::string decode_fault(std::string_view bytes);

}  // namespace lamina::vmm
