// Encodes and decodes the JSON bodies of Firecracker's API. Pure; decoders return a value or an
// error for any input.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lamina/result.h"
#include "vmm/instance.h"

namespace lamina::vmm {

/// The response to `GET /machine-config`.
struct MachineConfig {
  std::uint64_t memory_mib = 0;  ///< at least 1, at most kMaxBlocks blocks
  std::uint32_t vcpu_count = 0;
  bool track_dirty_pages = false;
  std::string huge_pages = "None";  ///< or "2M", "Transparent"; older versions omit it
};

enum class SnapshotType : std::uint8_t { kFull, kDiff };

/// The body of `PUT /snapshot/create`. Paths are as Firecracker sees them (it may run in a chroot).
struct CreateRequest {
  SnapshotType type = SnapshotType::kFull;
  std::string state_path;
  /// Must not exist: Firecracker would merge a Diff into an existing file of the memory's size.
  std::string memory_path;
};

enum class MemoryBackend : std::uint8_t { kFile, kUffd };

/// Another host device for a network interface of the snapshot.
struct NetworkOverride {
  std::string interface_id;
  std::string host_device;
};

/// The body of `PUT /snapshot/load`. It always enables dirty page tracking: a snapshot does not
/// record whether it was enabled, and without it the next Diff would contain all resident pages. Do
/// not set fields that the version does not support (version.h).
struct LoadRequest {
  std::string state_path;
  MemoryBackend backend = MemoryBackend::kFile;
  std::string backend_path;  ///< the memory file, or the page server's socket
  bool resume_vm = false;
  std::vector<NetworkOverride> network_overrides;
  std::optional<std::string> vsock_path;  ///< another host socket for the VM's vsock device
  bool clock_realtime = false;            ///< advance the guest's clock by the time that has passed
  /// "None", "2M" or "Transparent", instead of the setting in the VM state.
  std::optional<std::string> huge_pages;
  /// Use `enable_diff_snapshots`, the name of `track_dirty_pages` before 1.13.
  bool is_before_1_13 = false;
};

/// Encode request bodies. Only fields that are set are written, because older versions refuse
/// unknown fields. kUsage for a text that is empty, contains a NUL or is not UTF-8, which JSON
/// cannot represent.
Result<std::string> encode_create(const CreateRequest& request);
Result<std::string> encode_load(const LoadRequest& request);

/// Decode response bodies. kFailed if the form is not as expected; unknown fields are ignored.
Result<InstanceInfo> decode_instance_info(std::string_view bytes);
Result<MachineConfig> decode_machine_config(std::string_view bytes);
/// Decodes `GET /hotplug/memory`: the hotpluggable memory in MiB. The memory file includes it,
/// plugged or not.
Result<std::uint64_t> decode_hotplug_memory_mib(std::string_view bytes);

/// The message of an error response: its `fault_message`, else the start of its body. Never empty,
/// without control characters, at most 4 KiB.
std::string decode_fault(std::string_view bytes);

}  // namespace lamina::vmm
