#pragma once

#include <array>
#include <cstdint>

#include "lamina/words.h"

namespace lamina {

/// What a VM's memory is on. Firecracker's names: "None", "Transparent", "2M".
enum class HugePages : std::uint8_t {
  kAsBefore,     ///< as it was when it was paused
  kNone,         ///< the host's usual pages
  kTransparent,  ///< the same, and the kernel is asked for transparent huge pages
  k2MiB,         ///< 2 MiB pages of hugetlbfs: such a VM is resumed by page faults only
};

template <>
inline constexpr std::array kWords<HugePages> = {
    Word<HugePages>{"as-before", HugePages::kAsBefore}, Word<HugePages>{"none", HugePages::kNone},
    Word<HugePages>{"transparent", HugePages::kTransparent},
    Word<HugePages>{"2M", HugePages::k2MiB}};

}  // namespace lamina
