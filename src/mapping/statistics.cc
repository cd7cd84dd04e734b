#include "mapping/statistics.h"

#include <algorithm>

namespace lamina::mapping {
namespace {

/// Counts the runs that touch each window.
class WindowCounter {
 public:
  explicit WindowCounter(std::uint32_t block_count)
      : per_window_((block_count - 1) / kWindowBlocks + 1, 0) {}

  void add(std::uint32_t start, std::uint32_t end) {
    const std::uint32_t last = (end - 1) / kWindowBlocks;
    for (std::uint32_t window = start / kWindowBlocks; window <= last; ++window) {
      ++per_window_[window];
    }
  }

  [[nodiscard]] WindowUse result() const {
    std::uint64_t total = 0;
    for (const std::uint32_t count : per_window_) total += count;
    return {static_cast<std::uint32_t>(per_window_.size()),
            *std::max_element(per_window_.begin(), per_window_.end()),
            static_cast<double>(total) / static_cast<double>(per_window_.size())};
  }

 private:
  std::vector<std::uint32_t> per_window_;
};

}  // namespace

Statistics statistics_of(const Mapping& mapping) {
  Statistics statistics;
  statistics.layers.resize(mapping.layers().size() + 1);
  WindowCounter windows(mapping.block_count());
  for (std::size_t i = 0; i < mapping.extent_count(); ++i) {
    const Extent extent = mapping.extent(i);
    LayerUse& use = statistics.layers[extent.layer];
    use.live_blocks += extent.block_count;
    ++use.extents;
    windows.add(extent.guest_block, extent.guest_end());
  }
  statistics.windows = windows.result();
  return statistics;
}

WindowUse windows_after_merge(const Mapping& mapping, std::size_t youngest) {
  const std::size_t kept = mapping.layers().size() - youngest;
  const auto merged = [kept](const Extent& extent) {
    return extent.layer != kZeros && extent.layer > kept;
  };
  WindowCounter windows(mapping.block_count());
  Extent run = mapping.extent(0);
  for (std::size_t i = 1; i < mapping.extent_count(); ++i) {
    const Extent extent = mapping.extent(i);
    if (merged(run) && merged(extent)) {
      run.block_count += extent.block_count;
      continue;
    }
    windows.add(run.guest_block, run.guest_end());
    run = extent;
  }
  windows.add(run.guest_block, run.guest_end());
  return windows.result();
}

}  // namespace lamina::mapping
