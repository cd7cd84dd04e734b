// Faults whose windows are to be filled although other faults are pending (FaultAround), in order.
//
// They are filled in parts between batches of faults, so that a thread that faults meanwhile does
// not wait for all of them. The queue is bounded: if it is full, its oldest window must be filled
// before another one can be added.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "pager/fault_around.h"

namespace lamina::pager {

/// A fault around which blocks are to be filled.
struct Around {
  FaultAround* windows = nullptr;  ///< of the fault's kind, data or zeros; null: fill nothing
  std::uint32_t block = 0;
};

/// Does not allocate. Used by one thread.
class DueWindows {
 public:
  static constexpr std::size_t kRoom = 32;

  [[nodiscard]] bool empty() const { return count_ == 0; }
  [[nodiscard]] bool full() const { return count_ == kRoom; }
  /// REQUIRES: not empty().
  [[nodiscard]] const Around& oldest() const { return queue_[first_]; }
  void drop_oldest() {
    first_ = (first_ + 1) % kRoom;
    --count_;
  }

  /// True if a fault of the same window is in the queue.
  [[nodiscard]] bool holds(const Around& around) const {
    const std::uint32_t window = around.windows->window_of(around.block).first;
    for (std::size_t i = 0; i < count_; ++i) {
      const Around& known = queue_[(first_ + i) % kRoom];
      const bool is_same_kind = known.windows == around.windows;
      if (is_same_kind && known.windows->window_of(known.block).first == window) return true;
    }
    return false;
  }

  /// REQUIRES: not full(), not holds(around).
  void add(const Around& around) {
    queue_[(first_ + count_) % kRoom] = around;
    ++count_;
  }

 private:
  std::array<Around, kRoom> queue_{};
  std::size_t first_ = 0;
  std::size_t count_ = 0;
};

}  // namespace lamina::pager
