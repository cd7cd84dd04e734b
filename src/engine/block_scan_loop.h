// The body shared by the paths of block_scan_paths.h. Each path is a source file compiled for its
// own instruction set, which defines LAMINA_SCAN_PATH_NAME and is_zero_bytes() before including
// this. All is in an unnamed namespace: an inline function with external linkage compiled for AVX2
// could be the copy that the linker keeps for everyone.
#pragma once

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "engine/block_scan_paths.h"

namespace lamina::engine {
namespace {

constexpr std::size_t kScanBlockBytes = 4096;

std::uint64_t checksum_bytes(const std::byte* bytes, std::size_t size) {
  return XXH3_64bits(bytes, size);
}

void scan_all(const std::byte* blocks, std::size_t count, BlockScan* results) {
  for (std::size_t i = 0; i < count; ++i) {
    const std::byte* block = blocks + i * kScanBlockBytes;
    const bool zero = is_zero_bytes(block, kScanBlockBytes);
    results[i].is_zero = zero;
    results[i].checksum = zero ? 0 : XXH3_64bits(block, kScanBlockBytes);
  }
}

}  // namespace
}  // namespace lamina::engine
