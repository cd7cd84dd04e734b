#pragma once

#include <string>

#include "lamina/inspect.h"

namespace lamina::cli {

/// Draws the memory as rows of 64 characters, each standing for an equal part of it: '.' zeros, and
/// for each layer a character (0 the oldest, then 1 … 9, a … z, A … Z; '+' for any further), the
/// one that holds most of the part. With `color` the characters are coloured by layer.
std::string draw_memory_map(const SnapshotInfo& info, bool color);

/// The character of layer number `index`.
char layer_symbol(std::size_t index);

}  // namespace lamina::cli
