// A region of guest memory, mapped in the process that plays the VMM.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lamina::tests {

inline constexpr std::size_t kGuestPageBytes = 4096;
inline constexpr std::size_t kGuestHugePageBytes = std::size_t{2} << 20;

struct GuestRegion {
  std::byte* memory = nullptr;
  std::size_t size_bytes = 0;
  std::uint64_t memory_offset = 0;  ///< in the memory file
};

/// Private anonymous memory for a region, mapped until the process ends; with `huge_pages` on 2 MiB
/// pages, which must be free. nullptr on failure, with errno set.
std::byte* map_region(std::size_t size_bytes, bool huge_pages);

}  // namespace lamina::tests
