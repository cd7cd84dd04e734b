#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "mapping/mapping.h"

namespace lamina::mapping {

/// Blocks in a window of 2 MiB, the largest page that a guest can fault on at once.
inline constexpr std::uint32_t kWindowBlocks = 512;

/// What one layer contributes to a mapping.
struct LayerUse {
  std::uint32_t live_blocks = 0;  ///< blocks that the mapping takes from it
  std::uint32_t extents = 0;
};

/// How scattered a mapping is: the extents that touch a 2 MiB window are the reads that a fault on
/// a 2 MiB page costs.
struct WindowUse {
  std::uint32_t windows = 0;
  std::uint32_t max_extents = 0;
  double mean_extents = 0;
};

struct Statistics {
  std::vector<LayerUse> layers;  ///< by layer index; [kZeros] counts the zeros
  WindowUse windows;
};

/// O(extents + windows).
Statistics statistics_of(const Mapping& mapping);

/// The windows as they would be if the `youngest` youngest layers were one compact layer: extents
/// of theirs that touch in the guest are one then. Never more than without the merge, and fewer the
/// more layers are merged. O(extents + windows). REQUIRES: youngest <= layers.
WindowUse windows_after_merge(const Mapping& mapping, std::size_t youngest);

}  // namespace lamina::mapping
