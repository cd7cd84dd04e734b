// A guest's memory that needs no memory: each block is zeros or contents that follow from its
// number and a version, so that what a snapshot gives back can be checked at any time.
//
// The patterns are drawn from a seed and are those of a real guest at work: a full file is either
// dense, or half used with large untouched areas; a diff is many runs of 1 to 8 pages, some longer
// ones, and some pages that the guest cleared. recorded_guest.h has the memory of a real one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "lamina/result.h"

namespace lamina::bench {

/// A run of blocks that the VMM writes into a diff.
struct DirtyRun {
  std::uint32_t block = 0;
  std::uint32_t block_count = 0;
  std::uint32_t version = 0;  ///< 0: zeros
};

/// What a block holds in a version that is not 0.
using BlockContents =
    std::function<void(std::uint32_t index, std::uint32_t version, std::span<std::byte> block)>;

/// Contents that follow from number and version.
void draw_block(std::uint32_t index, std::uint32_t version, std::span<std::byte> block);

/// What the original program makes of zeros that a diff holds: "not changed".
enum class WrittenZeros : std::uint8_t { kClear, kInherit };

class GuestMemory {
 public:
  /// Nearly all data; zeros are single short runs.
  static GuestMemory dense(std::uint32_t blocks, std::uint64_t seed);
  /// Half data in runs of all lengths, the rest untouched, as after boot and some work.
  static GuestMemory half_used(std::uint32_t blocks, std::uint64_t seed);

  /// A version for each block, 0 for zeros, and what they hold.
  GuestMemory(std::vector<std::uint32_t> versions, BlockContents contents)
      : versions_(std::move(versions)), contents_(std::move(contents)) {}

  /// Nothing but zeros.
  static GuestMemory zeros(std::uint32_t blocks) { return GuestMemory(blocks); }

  /// What the guest writes next: about `fraction` of its memory, where it has data. Not applied.
  [[nodiscard]] std::vector<DirtyRun> draw_diff(double fraction, std::uint32_t version,
                                                std::uint64_t seed) const;
  void apply(const std::vector<DirtyRun>& diff, WrittenZeros zeros);

  [[nodiscard]] std::uint32_t block_count() const {
    return static_cast<std::uint32_t>(versions_.size());
  }
  [[nodiscard]] std::uint64_t data_blocks() const;
  [[nodiscard]] const BlockContents& contents() const { return contents_; }

  /// Writes all of it, zeros included, as the VMM writes a full file; synced.
  [[nodiscard]] Status write_full_file(const std::string& path) const;
  /// The same with holes for the zeros; synced.
  [[nodiscard]] Status write_sparse_file(const std::string& path) const;
  /// True when `block` is the contents of block `index`.
  [[nodiscard]] bool matches(std::uint32_t index, std::span<const std::byte> block) const;

 private:
  explicit GuestMemory(std::uint32_t blocks) : versions_(blocks, 0) {}

  std::vector<std::uint32_t> versions_;  // per block; 0: zeros
  BlockContents contents_ = draw_block;
};

/// Writes a diff as the VMM does: the dirty runs at their places, the rest a hole that was never
/// read, synced. `blocks` is the size of the memory.
Status write_diff_file(const std::string& path, std::uint32_t blocks,
                       const std::vector<DirtyRun>& diff,
                       const BlockContents& contents = draw_block);

}  // namespace lamina::bench
