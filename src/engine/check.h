// Verifies stored blocks against their checksums, and memory against a file.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/chain.h"
#include "lamina/progress.h"
#include "lamina/result.h"

namespace lamina::engine {

/// Blocks of a layer that differ from what was stored, or cannot be read.
struct WrongBlocks {
  mapping::Extent extent;
  std::uint32_t live_blocks = 0;  ///< how many of them the mapping reads from this layer
  std::string cause;              ///< "wrong checksum", or the read error
};

struct LayerCheck {
  std::uint64_t checked_blocks = 0;
  std::uint64_t unchecked_blocks = 0;  ///< without checksums (a layer written by wrenn)
  std::uint64_t wrong_blocks = 0;
  std::uint64_t wrong_live_blocks = 0;  ///< how many of them the mapping reads from this layer
  std::vector<WrongBlocks> wrong;       ///< the first kMaxReported runs
};

inline constexpr std::size_t kMaxReported = 100;

/// Verifies all blocks that the trailer of layer `index` lists, live or not. Fails only if
/// interrupted.
Result<LayerCheck> check_layer(const Chain& chain, mapping::LayerIndex index, Progress* progress);

/// Verifies all blocks of a layer that have checksums; kCorrupt names the first bad one.
/// REQUIRES: the checksums were loaded.
Status check_stored(const Layer& layer);

struct Comparison {
  std::uint64_t compared_blocks = 0;
  std::uint64_t different_blocks = 0;
  std::vector<BlockRun> different;  ///< the first kMaxReported runs
};

/// Compares the memory of `chain`, `memory_bytes` long, with the file `fd` byte by byte. kFailed if
/// the file has a different size.
Result<Comparison> compare_with_file(const Chain& chain, std::uint64_t memory_bytes, int fd,
                                     const std::string& path, Progress* progress);

}  // namespace lamina::engine
