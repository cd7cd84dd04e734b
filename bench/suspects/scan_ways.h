// Ways by which the bytes of a file come to the loop that scans them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/block.h"
#include "engine/block_scan.h"
#include "engine/transfer.h"
#include "lamina/result.h"

namespace lamina::bench {

/// How much is read and scanned at a time, as the engine does; sizes of files are multiples of it.
inline constexpr std::uint64_t kScanBytes = engine::kChunkBlocks * kBlockBytes;

/// What a scan finds: the checksums of the blocks that are not zeros.
class Found {
 public:
  void add(std::span<const std::byte> blocks) {
    const std::size_t count = blocks.size() / kBlockBytes;
    engine::scan_blocks(blocks, scans_);
    for (std::size_t i = 0; i < count; ++i) {
      if (!scans_[i].is_zero) checksums_.push_back(scans_[i].checksum);
    }
  }

  void add(const Found& later) {
    checksums_.insert(checksums_.end(), later.checksums_.begin(), later.checksums_.end());
  }

  [[nodiscard]] const std::vector<std::uint64_t>& checksums() const { return checksums_; }

 private:
  std::array<engine::BlockScan, engine::kChunkBlocks> scans_{};
  std::vector<std::uint64_t> checksums_;
};

/// One thread reads and scans.
Status scan_whole(int fd, std::uint64_t bytes, Found& found);

/// Scans the file in a mapping; with `populate_bytes` its pages are mapped that many at a time.
Status scan_mapping(int fd, std::uint64_t bytes, std::uint64_t populate_bytes, Found& found);

/// One thread reads, this one scans what it has read.
Status scan_pipelined(int fd, std::uint64_t bytes, Found& found);

/// Each of two threads reads and scans a half.
Status scan_halves(int fd, std::uint64_t bytes, Found& found);

}  // namespace lamina::bench
