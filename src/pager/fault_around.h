// What is filled around the pages that faults ask for.
//
// The page that is waited for is filled first. Who touches one page touches those around it soon: a
// window of blocks, aligned to its size, is filled with it, so that they do not fault. But nobody
// waits for them. So windows are put off while other faults wait, and forgotten when too many are
// put off; except those in which faults come again, which are filled at once.
//
// Which those are is a matter of rent and purchase: when the faults of a window have cost as much
// as filling it, it is filled. Whatever its guest does then, that costs at most twice as much as
// the best that could have been done. A guest that goes on from a window that it has touched into
// the next one, up or down, reads in order, and has that one filled at its first fault.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "format/trailer.h"

namespace lamina::pager {

struct FaultWindow {
  std::uint32_t blocks = 1;  ///< at least 1; with 1 there is nothing around a fault
  std::uint32_t faults = 1;  ///< that cost as much as filling it: at the next of them it is filled
};

/// The windows of one VM's memory, and what of them has been filled. A bit per block; allocates
/// when it is made only. One thread.
class FaultAround {
 public:
  /// So many windows are put off. Of more the oldest are forgotten: their guest has gone elsewhere.
  static constexpr std::size_t kMaxPutOff = 32;

  FaultAround(std::uint32_t block_count, const FaultWindow& window);

  /// Notes that a fault of a block has been answered. True when its window is to be filled at once;
  /// otherwise it is put off.
  bool add_fault(std::uint32_t block);

  [[nodiscard]] bool has_put_off() const { return put_off_count_ > 0; }
  /// A block of the window that has been put off for longest: one that faulted. REQUIRES:
  /// has_put_off().
  [[nodiscard]] std::uint32_t oldest_put_off() const { return put_off_.front(); }
  void drop_oldest_put_off() { erase_put_off(0); }

  /// The window that a block is in.
  [[nodiscard]] format::BlockRun window_of(std::uint32_t block) const;

  [[nodiscard]] bool is_filled(std::uint32_t block) const {
    return ((filled_[block / 64] >> (block % 64)) & 1U) != 0;
  }
  /// How many blocks from `block` on, up to `end`, are not filled.
  [[nodiscard]] std::uint32_t missing_from(std::uint32_t block, std::uint32_t end) const;
  void mark_filled(std::uint32_t block) { filled_[block / 64] |= std::uint64_t{1} << (block % 64); }
  /// For a block whose page is gone again.
  void mark_missing(std::uint32_t block) {
    filled_[block / 64] &= ~(std::uint64_t{1} << (block % 64));
  }

 private:
  [[nodiscard]] bool is_hot(std::uint32_t block) const;
  void erase_put_off(std::size_t index);

  std::uint32_t block_count_;
  FaultWindow window_;
  std::vector<std::uint64_t> filled_;
  std::array<std::uint32_t, kMaxPutOff> put_off_{};  ///< a block of each, oldest first
  std::size_t put_off_count_ = 0;
};

}  // namespace lamina::pager
