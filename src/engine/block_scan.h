// The inner loop of ingest and verify: is a block all zeros, and if not, what is its checksum.
//
// Both questions are answered while the block is in the cache: the zero test leaves a data block at
// its first byte that is not zero (usually at once), so a block of either kind is read about once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace lamina::engine {

/// What a block of zeros gets in place of a checksum. A data block may by chance have the same
/// checksum: is_zero tells them apart.
struct BlockScan {
  std::uint64_t checksum = 0;  ///< XXH3-64 of the block; 0 when is_zero
  bool is_zero = false;
};

/// Scans blocks.size() / 4096 blocks into `results`. REQUIRES: blocks.size() is a multiple of 4096
/// and results has room for each block. Uses AVX2 where the CPU has it. Thread-safe.
void scan_blocks(std::span<const std::byte> blocks, std::span<BlockScan> results);

/// XXH3-64 of a block, by the fastest path of this CPU. The same value as format::checksum64.
std::uint64_t block_checksum(std::span<const std::byte> block);

/// One implementation of the above; tests and benchmarks compare them.
struct ScanPath {
  std::string_view name;
  bool (*is_zero)(const std::byte* bytes, std::size_t size) = nullptr;
  std::uint64_t (*checksum)(const std::byte* bytes, std::size_t size) = nullptr;
  void (*scan)(const std::byte* blocks, std::size_t count, BlockScan* results) = nullptr;
};

/// The paths that this CPU can take, the fastest first. Never empty.
std::span<const ScanPath> scan_paths();

}  // namespace lamina::engine
