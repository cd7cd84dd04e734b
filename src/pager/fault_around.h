// Decides which pages around a fault are filled, and when.
//
// The faulting page is filled first. A guest that touches one page soon touches those around it: so
// adjacent blocks of the same kind in an aligned window around the fault are filled too, and do not
// fault later. No thread waits for them, so this is deferred while other faults are pending, and
// dropped if too many windows are deferred. Windows with repeated faults are filled at once.
//
// The rule is that of the ski rental problem: once the faults of a window have cost as much as
// filling it, it is filled at once. Whatever the guest does later, this costs at most twice the
// optimum. (Blocks that were filled without a fault, by populating or around others, count like
// faults.) A fault at the edge of a window next to a filled block of the adjacent window indicates
// a sequential read: the window is filled at the first fault.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/bitmap.h"
#include "base/run.h"

namespace lamina::pager {

struct FaultWindow {
  std::uint32_t blocks = 1;  ///< at least 1; 1 turns filling around faults off
  /// The number of faults that cost as much as filling the window. When this many of its blocks are
  /// filled, the next fault fills the window at once.
  std::uint32_t faults = 1;
};

/// The windows of one VM's memory, and which blocks are filled: a bit per block, in memory of the
/// caller. Writes only words that change, so that unused guest memory costs nothing. Used by one
/// thread.
class FaultAround {
 public:
  /// Maximum number of deferred faults. Beyond it the oldest are dropped: the guest has moved on.
  static constexpr std::size_t kMaxDeferred = 32;

  /// Number of words for the bits of a memory.
  static std::size_t words_for(std::uint32_t block_count) {
    return block_count / kBitsPerWord + std::size_t{1};
  }

  /// `filled` has words_for(block_count) words, all zero, and outlives this object.
  FaultAround(std::uint32_t block_count, const FaultWindow& window, std::span<std::uint64_t> filled)
      : block_count_(block_count), window_(window), filled_(filled) {}

  /// To be called after a fault was served. True if the blocks around it are to be filled now;
  /// otherwise they are deferred. (Filled blocks count like faults, so a second piece of a window
  /// is filled at once.)
  bool add_fault(std::uint32_t block);

  [[nodiscard]] bool has_deferred() const { return deferred_count_ > 0; }
  /// The oldest deferred fault. REQUIRES: has_deferred().
  [[nodiscard]] std::uint32_t oldest_deferred() const { return deferred_.front(); }
  void drop_oldest_deferred();

  /// The window that contains a block.
  [[nodiscard]] BlockRun window_of(std::uint32_t block) const;

  /// The part of `piece` to fill next around a fault of `block`, which is in `piece`. If the range
  /// from the first to the last missing block has at most `limit` blocks, that range. Otherwise
  /// `limit` blocks from the first missing block above `block`, since most guests read upwards;
  /// once there is none, from the first missing block. Begins with a missing block; empty if there
  /// is none.
  [[nodiscard]] BlockRun next_part(const BlockRun& piece, std::uint32_t block,
                                   std::uint32_t limit) const;

  [[nodiscard]] bool is_filled(std::uint32_t block) const { return is_bit_set(filled_, block); }
  /// Number of consecutive missing blocks from `block` on, up to `end`.
  [[nodiscard]] std::uint32_t missing_from(std::uint32_t block, std::uint32_t end) const;
  void mark_filled(const BlockRun& run) { write_bits(filled_, run.first, run.end(), true); }
  /// For blocks that the guest gave back. (The kernel may remove the pages a moment later, so a
  /// block may be filled and marked but missing after all. Marks are hints.)
  void mark_missing(const BlockRun& run) { clear_bits(filled_, run.first, run.end()); }

 private:
  [[nodiscard]] bool is_hot(std::uint32_t block) const;

  std::uint32_t block_count_;
  FaultWindow window_;
  std::span<std::uint64_t> filled_;
  std::array<std::uint32_t, kMaxDeferred> deferred_{};  ///< oldest first
  std::size_t deferred_count_ = 0;
};

}  // namespace lamina::pager
