#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "mapping/mapping.h"

namespace lamina::mapping {

/// Blocks in a window of 2 MiB, the largest page that one fault can ask for.
inline constexpr std::uint32_t kWindowBlocks = 512;

/// The part of a mapping that comes from one layer.
struct LayerUse {
  std::uint32_t live_blocks = 0;  ///< blocks that the mapping reads from it
  std::uint32_t extents = 0;
};

/// Fragmentation of a mapping: the number of extents in a 2 MiB window is the number of reads for a
/// fault on a 2 MiB page.
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

/// The windows after a merge of the `youngest` youngest layers into one compact layer, which joins
/// their extents that are adjacent in the guest. The counts never increase with `youngest`.
/// O(extents + windows). REQUIRES: youngest <= layers.
WindowUse windows_after_merge(const Mapping& mapping, std::size_t youngest);

}  // namespace lamina::mapping
