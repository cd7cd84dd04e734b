#include "pager/fault_around.h"

#include <algorithm>

namespace lamina::pager {

BlockRun FaultAround::window_of(std::uint32_t block) const {
  const std::uint32_t first = block / window_.blocks * window_.blocks;
  return {first, std::min(window_.blocks, block_count_ - first)};
}

bool FaultAround::add_fault(std::uint32_t block) {
  if (window_.blocks == 1) return false;
  const bool hot = is_hot(block);
  mark_filled({block, 1});
  if (hot) return true;
  if (deferred_count_ == kMaxDeferred) drop_oldest_deferred();
  deferred_[deferred_count_++] = block;
  return false;
}

bool FaultAround::is_hot(std::uint32_t block) const {
  const BlockRun window = window_of(block);
  const std::uint32_t end = window.end();
  const bool reads_up = block == window.first && block > 0 && is_filled(block - 1);
  const bool reads_down = block + 1 == end && end < block_count_ && is_filled(end);
  if (reads_up || reads_down) return true;
  std::uint32_t filled = 0;
  for (std::uint32_t i = window.first; i < end && filled < window_.faults; ++i) {
    if (is_filled(i)) ++filled;
  }
  return filled >= window_.faults;
}

void FaultAround::drop_oldest_deferred() {
  std::move(deferred_.begin() + 1, deferred_.begin() + static_cast<std::ptrdiff_t>(deferred_count_),
            deferred_.begin());
  --deferred_count_;
}

BlockRun FaultAround::next_part(const BlockRun& piece, std::uint32_t block,
                                std::uint32_t limit) const {
  std::uint32_t first = piece.first;
  std::uint32_t end = piece.end();
  while (first < end && is_filled(first)) ++first;
  while (first < end && is_filled(end - 1)) --end;
  if (end - first <= limit) return {first, end - first};
  // The block before `end` is missing, so a missing block above exists if `block` is below `end`.
  std::uint32_t above = block;
  while (above < end && is_filled(above)) ++above;
  if (above < end) first = std::max(first, above);
  return {first, std::min(limit, end - first)};
}

std::uint32_t FaultAround::missing_from(std::uint32_t block, std::uint32_t end) const {
  std::uint32_t count = 0;
  while (block + count < end && !is_filled(block + count)) ++count;
  return count;
}

}  // namespace lamina::pager
