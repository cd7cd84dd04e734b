// The implementations of block_scan.h, one per instruction set.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace lamina::engine {

/// The result for one block. The checksum of a data block may also be 0: only is_zero tells.
struct BlockScan {
  std::uint64_t checksum = 0;  ///< XXH3-64 of the block; 0 when is_zero
  bool is_zero = false;
};

/// One implementation of scan_blocks() and block_checksum(); tests and benchmarks compare them.
struct ScanPath {
  std::string_view name;
  bool (*is_zero)(const std::byte* bytes, std::size_t size) = nullptr;
  std::uint64_t (*checksum)(const std::byte* bytes, std::size_t size) = nullptr;
  void (*scan)(const std::byte* blocks, std::size_t count, BlockScan* results) = nullptr;
};

ScanPath portable_scan_path();
/// Exists only if LAMINA_HAVE_AVX2_PATH is defined. Run it only on a CPU with AVX2.
ScanPath avx2_scan_path();

}  // namespace lamina::engine
