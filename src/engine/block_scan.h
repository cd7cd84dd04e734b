// The inner loop of ingest and verify: whether a block is all zeros, and if not, its checksum.
//
// Both are computed while the block is in the cache. The zero test stops at the first byte of a
// data block that is not zero, usually at once, so each block is read about once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/block_scan_paths.h"

namespace lamina::engine {

/// Scans blocks.size() / 4096 blocks into `results`. REQUIRES: blocks.size() is a multiple of 4096
/// and `results` has room for each block. Uses AVX2 if the CPU has it. Thread-safe.
void scan_blocks(std::span<const std::byte> blocks, std::span<BlockScan> results);

/// XXH3-64 of a block, computed by the fastest path. Same value as format::checksum64().
std::uint64_t block_checksum(std::span<const std::byte> block);

/// The implementations that this CPU supports, fastest first. Never empty.
std::span<const ScanPath> scan_paths();

}  // namespace lamina::engine
