// The unit of everything: a block of guest memory.
#pragma once

#include <cstdint>

namespace lamina {

/// Bytes in a block. Firecracker's dirty bits are per 4 KiB, also on huge pages, so ours are too.
inline constexpr std::uint64_t kBlockBytes = 4096;

/// Block numbers and counts are 32 bits: memory and layers may have this many blocks at most
/// (16 TiB less one block).
inline constexpr std::uint64_t kMaxBlocks = 0xffff'ffff;

/// Blocks that hold `bytes`, the last one possibly short. REQUIRES: no overflow, i.e. bytes is a
/// size that has been checked against kMaxBlocks or comes from a file.
constexpr std::uint64_t blocks_for(std::uint64_t bytes) {
  return bytes / kBlockBytes + (bytes % kBlockBytes != 0 ? 1 : 0);
}

}  // namespace lamina
