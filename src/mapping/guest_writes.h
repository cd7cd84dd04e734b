// How guests write between two pauses, for simulations: tests of the merge policy and bench/fleet.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <random>

namespace lamina::mapping {

struct GuestShape {
  const char* name;
  double least;           ///< of the memory, by one diff; the sizes are log-uniform
  double most;            ///< of the memory, by one diff
  double hot_memory;      ///< share of the memory that is hot
  double hot_writes;      ///< share of the runs that go there
  std::uint32_t longest;  ///< run, in blocks
  double cleared;         ///< share of the runs that are zeros
};

inline constexpr std::array kSandboxShapes = {
    GuestShape{"sandbox", 0.001, 0.1, 0.1, 0.8, 64, 0.1},
    GuestShape{"idle", 0.001, 0.003, 0.02, 0.95, 16, 0.02},
    GuestShape{"uniform", 0.01, 0.03, 1, 1, 32, 0.05},
};
/// No sandbox writes like this: single blocks.
inline constexpr GuestShape kScatteredShape{"scattered", 0.001, 0.1, 0.2, 0.5, 1, 0};

/// Uniform in [0, 1).
inline double unit(std::mt19937_64& random) {
  return static_cast<double>(random() >> 11U) * 0x1p-53;
}

/// How much of a memory of `blocks` blocks the next diff writes.
inline double diff_blocks(const GuestShape& shape, std::uint32_t blocks, std::mt19937_64& random) {
  return shape.least * std::pow(shape.most / shape.least, unit(random)) * blocks;
}

struct GuestWrite {
  std::uint32_t begin = 0;
  std::uint32_t end = 0;
  bool is_cleared = false;  ///< to zeros
};

/// The next run of blocks that a guest with `blocks` blocks writes.
inline GuestWrite next_write(const GuestShape& shape, std::uint32_t blocks,
                             std::mt19937_64& random) {
  const bool is_hot = unit(random) < shape.hot_writes;
  const auto room = static_cast<std::uint32_t>(is_hot ? shape.hot_memory * blocks : blocks);
  GuestWrite write;
  write.begin = static_cast<std::uint32_t>(random() % std::max(room, 1U));
  write.end =
      std::min(write.begin + 1 + static_cast<std::uint32_t>(random() % shape.longest), blocks);
  write.is_cleared = unit(random) < shape.cleared;
  return write;
}

}  // namespace lamina::mapping
