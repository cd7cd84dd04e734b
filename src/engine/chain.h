// A mapping with its open layers, from which guest memory can be read.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "engine/layer.h"
#include "lamina/result.h"
#include "mapping/mapping.h"

namespace lamina::engine {

/// Immutable; thread-safe.
class Chain {
 public:
  /// Combines `mapping` with `layers` (parallel to mapping.layers()) and checks every extent
  /// against its layer, because a checksum is valid for one place only. kCorrupt names the bad
  /// extent.
  static Result<Chain> create(mapping::Mapping mapping, std::vector<Layer> layers);

  [[nodiscard]] const mapping::Mapping& mapping() const { return mapping_; }
  [[nodiscard]] std::span<const Layer> layers() const { return layers_; }
  /// REQUIRES: index != mapping::kZeros.
  [[nodiscard]] const Layer& layer(mapping::LayerIndex index) const { return layers_[index - 1U]; }

  enum class Check : std::uint8_t { kChecksums, kNone };

  /// Reads guest blocks [block, block + buffer.size() / 4096). REQUIRES: inside the memory.
  [[nodiscard]] Status read(std::uint32_t block, std::span<std::byte> buffer, Check check) const;

 private:
  Chain(mapping::Mapping mapping, std::vector<Layer> layers)
      : mapping_(std::move(mapping)), layers_(std::move(layers)) {}

  mapping::Mapping mapping_;
  std::vector<Layer> layers_;
};

}  // namespace lamina::engine
