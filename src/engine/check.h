// Checking what is stored: every block against its checksum, and memory against a file.
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
  std::uint32_t live_blocks = 0;  ///< how many of them the mapping takes from this layer
  std::string cause;              ///< "wrong checksum", or why it could not be read
};

struct LayerCheck {
  std::uint64_t checked_blocks = 0;
  std::uint64_t unchecked_blocks = 0;  ///< without checksums (a layer of the original program)
  std::uint64_t wrong_blocks = 0;
  std::uint64_t wrong_live_blocks = 0;  ///< of them, how many the mapping takes from this layer
  std::vector<WrongBlocks> wrong;       ///< the first runs of them, kMaxReported at most
};

inline constexpr std::size_t kMaxReported = 100;

/// Reads all blocks that the trailer of layer `index` lists, live or not. Fails only when
/// interrupted.
Result<LayerCheck> check_layer(const Chain& chain, mapping::LayerIndex index, Progress* progress);

/// Reads all blocks that a layer has checksums for; kCorrupt names the first that is not what was
/// stored. REQUIRES: the checksums were loaded.
Status check_stored(const Layer& layer);

struct Comparison {
  std::uint64_t compared_blocks = 0;
  std::uint64_t different_blocks = 0;
  std::vector<BlockRun> different;  ///< the first runs of them, kMaxReported at most
};

/// Compares the memory of `chain`, `memory_bytes` long, with the file `fd` byte by byte. A file of
/// another size is kFailed.
Result<Comparison> compare_with_file(const Chain& chain, std::uint64_t memory_bytes, int fd,
                                     const std::string& path, Progress* progress);

}  // namespace lamina::engine
