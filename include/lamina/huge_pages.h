#pragma once

#include <cstdint>

namespace lamina {

/// What a VM's memory is on. Firecracker's names: "None", "Transparent", "2M".
enum class HugePages : std::uint8_t {
  kAsBefore,     ///< as it was when it was paused
  kNone,         ///< the host's usual pages
  kTransparent,  ///< the same, and the kernel is asked for transparent huge pages
  k2MiB,         ///< 2 MiB pages of hugetlbfs: such a VM is resumed by page faults only
};

}  // namespace lamina
