#include "mapping/statistics.h"

#include <algorithm>

namespace lamina::mapping {

Statistics statistics_of(const Mapping& mapping) {
  Statistics statistics;
  statistics.layers.resize(mapping.layers().size() + 1);
  const std::uint32_t windows = (mapping.block_count() - 1) / kWindowBlocks + 1;
  std::vector<std::uint32_t> per_window(windows, 0);
  for (std::size_t i = 0; i < mapping.extent_count(); ++i) {
    const Extent extent = mapping.extent(i);
    LayerUse& use = statistics.layers[extent.layer];
    use.live_blocks += extent.block_count;
    ++use.extents;
    const std::uint32_t last = (extent.guest_end() - 1) / kWindowBlocks;
    for (std::uint32_t window = extent.guest_block / kWindowBlocks; window <= last; ++window) {
      ++per_window[window];
    }
  }
  std::uint64_t total = 0;
  for (const std::uint32_t count : per_window) total += count;
  statistics.windows = {windows, *std::max_element(per_window.begin(), per_window.end()),
                        static_cast<double>(total) / windows};
  return statistics;
}

}  // namespace lamina::mapping
