#pragma once

#include <string>

#include "lamina/inspect.h"

namespace lamina::cli {

/// Draws the memory as rows of 64 characters. Each character stands for an equal part of the
/// memory, and shows the layer that holds most of it: 0 is the oldest layer, then 1 … 9, a … z, A …
/// Z, and '+' for all further layers; '.' is zeros. With `color` the characters are coloured by
/// layer.
std::string draw_memory_map(const SnapshotInfo& info, bool color);

/// The character of layer `index`; 0 is the oldest.
char layer_symbol(std::size_t index);

}  // namespace lamina::cli
