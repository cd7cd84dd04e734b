// The inner loop of ingest and verify: is a block all zeros, and if not, what is its checksum.
//
// Both questions are answered while the block is in the cache: the zero test leaves a data block at
// its first byte that is not zero (usually at once), so a block of either kind is read about once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/block_scan_paths.h"

namespace lamina::engine {

/// Scans blocks.size() / 4096 blocks into `results`. REQUIRES: blocks.size() is a multiple of 4096
/// and results has room for each block. Uses AVX2 where the CPU has it. Thread-safe.
void scan_blocks(std::span<const std::byte> blocks, std::span<BlockScan> results);

/// XXH3-64 of a block, by the fastest path of this CPU. The same value as format::checksum64.
std::uint64_t block_checksum(std::span<const std::byte> block);

/// The paths that this CPU can take, the fastest first. Never empty.
std::span<const ScanPath> scan_paths();

}  // namespace lamina::engine
