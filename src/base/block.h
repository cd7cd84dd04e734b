// The unit that all of lamina works in: a block of guest memory.
#pragma once

#include <cstdint>

namespace lamina {

/// Bytes in a block. Firecracker's dirty bits are per 4 KiB, also on huge pages, so ours are too.
inline constexpr std::uint64_t kBlockBytes = 4096;

/// Block numbers and counts have 32 bits. A memory or a layer has at most this many blocks (16 TiB
/// less one block).
inline constexpr std::uint64_t kMaxBlocks = 0xffff'ffff;

/// Number of blocks that hold `bytes`; the last one may be partly used. The caller checks the
/// result against kMaxBlocks where `bytes` is not trusted.
constexpr std::uint64_t blocks_for(std::uint64_t bytes) {
  return bytes / kBlockBytes + (bytes % kBlockBytes != 0 ? 1 : 0);
}

}  // namespace lamina
