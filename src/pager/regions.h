// Where a VM's memory is in the address space of its Firecracker.
//
// Firecracker tells it in the handshake: a JSON array with an object per region,
//   {"base_host_virt_addr": u64, "size": bytes, "offset": bytes, "page_size": bytes,
//    "page_size_kib": bytes}
// `offset` is where the region begins in the memory file. `page_size_kib` is in bytes too, in spite
// of its name, and goes away; `page_size` is preferred. Unknown keys are ignored.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/block.h"
#include "lamina/result.h"

namespace lamina::pager {

struct Region {
  std::uint64_t host_address = 0;
  std::uint64_t size_bytes = 0;
  std::uint64_t memory_offset = 0;  ///< in the memory file
  std::uint64_t page_bytes = 0;     ///< 4 KiB or 2 MiB

  [[nodiscard]] std::uint64_t host_end() const { return host_address + size_bytes; }
  bool operator==(const Region&) const = default;
};

inline constexpr std::size_t kMaxRegions = 64;
inline constexpr std::uint64_t kHugePageBytes = std::uint64_t{2} << 20;
inline constexpr std::uint32_t kHugePageBlocks = kHugePageBytes / kBlockBytes;

/// The regions of one VM: sorted by host address, apart, aligned to their page size, inside the
/// memory. Immutable; thread-safe.
class RegionTable {
 public:
  /// Decodes and validates the handshake's JSON for a memory of `memory_bytes`. kCorrupt names the
  /// region and the value; whatever the text, nothing large is allocated.
  static Result<RegionTable> decode(std::string_view json, std::uint64_t memory_bytes);

  /// The same for regions that were decoded before.
  static Result<RegionTable> create(std::vector<Region> regions, std::uint64_t memory_bytes);

  /// The region that holds a host address, or nullptr. No allocation.
  [[nodiscard]] const Region* find(std::uint64_t host_address) const;

  /// The region that maps a block of the memory, or nullptr. No allocation.
  [[nodiscard]] const Region* find_block(std::uint32_t block) const;

  [[nodiscard]] std::span<const Region> regions() const { return regions_; }

 private:
  std::vector<Region> regions_;
};

}  // namespace lamina::pager
