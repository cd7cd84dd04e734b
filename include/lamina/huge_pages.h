#pragma once

#include <array>
#include <cstdint>

#include "lamina/words.h"

namespace lamina {

/// The pages of a VM's memory. Firecracker's names are "None", "Transparent" and "2M".
enum class HugePages : std::uint8_t {
  kAsBefore,     ///< as at the pause; for an ingest: as in the parent, else unknown
  kNone,         ///< pages of the host's usual size
  kTransparent,  ///< the same, and the kernel is asked for transparent huge pages
  k2MiB,         ///< 2 MiB pages of hugetlbfs: such a VM can be resumed by page faults only
};

template <>
inline constexpr std::array kWords<HugePages> = {
    Word<HugePages>{"as-before", HugePages::kAsBefore}, Word<HugePages>{"none", HugePages::kNone},
    Word<HugePages>{"transparent", HugePages::kTransparent},
    Word<HugePages>{"2M", HugePages::k2MiB}};

}  // namespace lamina
