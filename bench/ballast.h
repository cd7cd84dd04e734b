#pragma once

#include <cstdint>

namespace lamina::bench {

/// Touches `bytes` of fresh memory and gives them back to the kernel. In a virtual machine, memory
/// that the kernel gave back to its host costs ten times as much at its first touch as memory that
/// is free in the kernel; after this, the free memory that a timed part takes is of the second
/// kind.
void touch_ballast(std::uint64_t bytes);

}  // namespace lamina::bench
