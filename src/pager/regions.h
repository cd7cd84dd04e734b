// The location of a VM's memory in the address space of its Firecracker process.
//
// Firecracker sends it in the handshake: a JSON array with an object per region,
//   {"base_host_virt_addr": u64, "size": bytes, "offset": bytes, "page_size": bytes,
//    "page_size_kib": bytes}
// `offset` is the start of the region in the memory file. `page_size_kib` is in bytes too, despite
// its name, and deprecated; `page_size` takes precedence. Unknown keys are ignored.
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

/// The regions of one VM: sorted by host address, disjoint, aligned to their page size, inside the
/// memory. Immutable; thread-safe.
class RegionTable {
 public:
  /// Decodes and validates the JSON of the handshake for a memory of `memory_bytes`. kCorrupt names
  /// the region and the value. Allocates little, whatever the input.
  static Result<RegionTable> decode(std::string_view json, std::uint64_t memory_bytes);

  /// The same for decoded regions.
  static Result<RegionTable> create(std::vector<Region> regions, std::uint64_t memory_bytes);

  /// The region that contains a host address; nullptr if there is none. Does not allocate.
  [[nodiscard]] const Region* find(std::uint64_t host_address) const;

  /// The region that contains a block of the memory; nullptr if there is none. Does not allocate.
  [[nodiscard]] const Region* find_block(std::uint32_t block) const;

  [[nodiscard]] std::span<const Region> regions() const { return regions_; }

 private:
  std::vector<Region> regions_;
};

}  // namespace lamina::pager
