// What is filled around the pages that faults ask for.
//
// The page that is waited for is filled first. Who touches one page touches those around it soon:
// in a window of blocks, aligned to its size, what is of one piece with it is filled, too, so that
// it does not fault. But nobody waits for that. So it is put off while other faults wait, and
// forgotten when too much is put off; except in windows in which faults come again, which are
// filled at once.
//
// Which those are is a matter of rent and purchase: when the faults of a window have cost as much
// as filling it, it is filled. Whatever its guest does then, that costs at most twice as much as
// the best that could have been done. (What was filled without a fault, by populating or around
// others, counts like faults.) A guest that comes into a window from the filled end of the one
// below or above it reads in order, and has it filled at its first fault.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/bitmap.h"
#include "base/run.h"

namespace lamina::pager {

struct FaultWindow {
  std::uint32_t blocks = 1;  ///< at least 1; with 1 there is nothing around a fault
  /// So many faults cost as much as filling it: with so many of its blocks filled, the next fault
  /// has it filled at once.
  std::uint32_t faults = 1;
};

/// The windows of one VM's memory, and what of them has been filled: a bit per block, in memory
/// that is lent. Writes only words in which bits change, so that what a guest does not use costs
/// nothing. One thread.
class FaultAround {
 public:
  /// So many faults have what is around them put off. Of more the oldest are forgotten: their guest
  /// has gone elsewhere.
  static constexpr std::size_t kMaxDeferred = 32;

  /// Words that the bits of a memory need.
  static std::size_t words_for(std::uint32_t block_count) {
    return block_count / kBitsPerWord + std::size_t{1};
  }

  /// `filled` has words_for(block_count) words, all zeros, and outlives this.
  FaultAround(std::uint32_t block_count, const FaultWindow& window, std::span<std::uint64_t> filled)
      : block_count_(block_count), window_(window), filled_(filled) {}

  /// Notes that a fault of a block has been answered. True when what is around it is to be filled
  /// now; otherwise that is put off. (Whatever has been filled counts like faults: so a second
  /// piece of a window is filled at once.)
  bool add_fault(std::uint32_t block);

  [[nodiscard]] bool has_deferred() const { return deferred_count_ > 0; }
  /// The fault that has been put off for longest. REQUIRES: has_deferred().
  [[nodiscard]] std::uint32_t oldest_deferred() const { return deferred_.front(); }
  void drop_oldest_deferred();

  /// The window that a block is in.
  [[nodiscard]] BlockRun window_of(std::uint32_t block) const;

  /// What of `piece` is to be filled next around a fault of `block`, which is in it: from its first
  /// missing block to its last one, when those are `limit` blocks at most; else so many, from the
  /// first missing one above `block` on, since most guests read upwards, then from the first one of
  /// all. Begins with a missing block; empty when none is missing.
  [[nodiscard]] BlockRun next_part(const BlockRun& piece, std::uint32_t block,
                                   std::uint32_t limit) const;

  [[nodiscard]] bool is_filled(std::uint32_t block) const { return is_bit_set(filled_, block); }
  /// How many blocks from `block` on, up to `end`, are not filled.
  [[nodiscard]] std::uint32_t missing_from(std::uint32_t block, std::uint32_t end) const;
  void mark_filled(const BlockRun& run) { write_bits(filled_, run.first, run.end(), true); }
  /// For blocks that were given back. (Their pages may go a moment later: then they may be filled,
  /// and marked, and missing all the same. Marks are hints.)
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
