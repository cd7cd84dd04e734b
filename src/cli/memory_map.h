#pragma once

#include <cstdint>
#include <string>

#include "lamina/inspect.h"

namespace lamina::cli {

enum class MapStyle : std::uint8_t {
  kPlain,       ///< characters
  kColor,       ///< characters, coloured by layer
  kHalfBlocks,  ///< two parts of the memory in each character, by colours alone, and a legend
};

/// Draws the memory as rows of 64 characters. Each character stands for an equal part of the
/// memory, and shows the layer that holds most of it: 0 is the oldest layer, then 1 … 9, a … z, A …
/// Z, and '+' for all further layers; '.' is zeros. With kHalfBlocks each character is half as tall
/// and there are twice as many parts.
std::string draw_memory_map(const SnapshotInfo& info, MapStyle style);

/// The character of layer `index`; 0 is the oldest.
char layer_symbol(std::size_t index);

}  // namespace lamina::cli
