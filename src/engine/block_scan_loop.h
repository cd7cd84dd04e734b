// The code that the paths of block_scan_paths.h share. Each path is a source file that is compiled
// for its own instruction set and defines is_zero_bytes() before it includes this file. Everything
// is in an unnamed namespace, because the linker could otherwise keep the AVX2 copy of an inline
// function for all callers.
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
