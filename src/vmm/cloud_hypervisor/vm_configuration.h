// Cloud Hypervisor's JSON: what its API and its migration messages say about a VM's memory, and the
// configuration that a resume changes. Pure; decoders return a value or an error for any input.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lamina/result.h"
#include "vmm/cloud_hypervisor/host_paths.h"
#include "vmm/instance.h"

namespace lamina::vmm {

/// A range of guest memory. Ranges are slots of the hypervisor; a zone has one or more of them.
struct RamMapping {
  std::uint32_t slot = 0;
  std::uint64_t guest_address = 0;
  std::uint64_t size_bytes = 0;
  std::uint64_t file_offset = 0;  ///< in the file or memfd that it maps
  std::string zone;
  std::uint64_t image_offset = 0;  ///< in lamina's memory file

  bool operator==(const RamMapping&) const = default;
};

/// All of a guest's memory, in the order of its addresses. That is also the order in the memory
/// file, which has no gaps: a VM of more than 3 GiB has two ranges.
struct MemoryLayout {
  std::vector<RamMapping> mappings;
  std::uint64_t memory_bytes = 0;

  bool operator==(const MemoryLayout&) const = default;
};

/// Reads a Config message. kCorrupt if there is no memory, ranges overlap, or sizes are not whole
/// pages.
Result<MemoryLayout> decode_layout(std::string_view config);

/// A zone that maps a file privately.
struct FileZone {
  std::string id;
  std::string file;

  bool operator==(const FileZone&) const = default;
};

/// A zone on huge pages. Such memory is always shared, in a memfd.
struct HugeZone {
  std::string id;                ///< empty: all memory of a VM without zones
  std::uint64_t page_bytes = 0;  ///< 0: the host's default

  bool operator==(const HugeZone&) const = default;
};

/// What the configuration says about memory.
struct MemoryConfiguration {
  std::uint64_t memory_bytes = 0;
  std::vector<FileZone> file_zones;
  std::vector<HugeZone> huge_zones;
  /// Why this memory cannot be captured; empty if it can.
  std::string obstacle;

  /// Null if the memory of zone `id` is not on huge pages.
  [[nodiscard]] const HugeZone* huge_zone_of(std::string_view id) const;
};

/// Reads the `vm_config` of a Config message.
Result<MemoryConfiguration> decode_memory(std::string_view config);

/// The answer to `GET /api/v1/vm.info`.
struct VmInfo {
  VmState state = VmState::kNotStarted;  ///< kNotStarted also: created, or shut down
  MemoryConfiguration memory;
};
Result<VmInfo> decode_vm_info(std::string_view body);

/// The version in the answer to `GET /api/v1/vmm.ping`: "v53.0". Without control characters.
Result<std::string> decode_ping(std::string_view body);

/// The messages of an error answer, joined by ": ". Never empty, at most 4 KiB.
std::string decode_api_error(std::string_view body);

/// The bodies of the API's requests. kUsage for a path that is not UTF-8.
Result<std::string> encode_send_migration(const std::string& socket_path);
Result<std::string> encode_receive_migration(const std::string& socket_path);

/// What a resume changes.
struct ResumeConfiguration {
  /// That the zones map privately, as the VMM sees it. Empty: all ranges are in memfds that are
  /// sent, each at its beginning, and the pages stay what they are.
  std::string memory_file{};
  std::vector<std::pair<std::string, std::string>> networks{};  ///< id of the device, its new tap
  HostPaths paths{};
};

/// A Config message for a VM that maps `memory_file`: its zones are in File mode, each range at its
/// place in the memory file. kUsage if a device does not exist; kUnsupported for devices outside of
/// Cloud Hypervisor (vhost-user), which need shared memory and have a state of their own.
Result<std::string> configure_resume(std::string_view config, const ResumeConfiguration& change);

}  // namespace lamina::vmm
