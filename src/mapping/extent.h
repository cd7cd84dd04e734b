// Runs of guest blocks with the place where they are stored.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/run.h"

namespace lamina::mapping {

/// Index of a layer in a mapping's table, counted from 1. 0 stands for zeros.
using LayerIndex = std::uint16_t;
inline constexpr LayerIndex kZeros = 0;
inline constexpr std::size_t kMaxLayers = 0xfffe;
/// In the extents of a diff: the layer that the diff becomes.
inline constexpr LayerIndex kNewLayer = 0xffff;

/// Guest blocks [guest_block, guest_end()) are blocks [storage_block, …) of the layer's data, or
/// zeros (layer == kZeros, storage_block == 0).
struct Extent {
  std::uint32_t guest_block = 0;
  std::uint32_t block_count = 0;
  LayerIndex layer = kZeros;
  std::uint32_t storage_block = 0;

  [[nodiscard]] std::uint32_t guest_end() const { return guest_block + block_count; }
  [[nodiscard]] BlockRun guest_run() const { return {guest_block, block_count}; }
  bool operator==(const Extent&) const = default;
};

/// A run of guest blocks that one layer stores, with the index of its first block's checksum. Layer
/// files list the guest blocks only: the other two fields follow from the layout and the order.
struct StoredExtent {
  std::uint32_t guest_block = 0;
  std::uint32_t block_count = 0;
  std::uint32_t storage_block = 0;
  std::uint32_t checksum_index = 0;

  [[nodiscard]] std::uint32_t guest_end() const { return guest_block + block_count; }
  [[nodiscard]] BlockRun guest_run() const { return {guest_block, block_count}; }
  bool operator==(const StoredExtent&) const = default;
};

}  // namespace lamina::mapping
