// Populating: the part of a session that fills pages without faults.
//
// The plan is cut into portions, which are read ahead and filled in the order of the plan. After
// each portion the position is saved for a successor. A successor may fill pages again, which only
// costs time: the kernel refuses to fill present pages.
#include <algorithm>

#include "base/block.h"
#include "base/error.h"
#include "os/clock.h"
#include "pager/session.h"

namespace lamina::pager {
namespace {

/// A position in the plan: the run in the upper half, the block in the run in the lower half. After
/// the last run the lower half is a block of the memory.
constexpr unsigned kRunShift = 32;

/// Plan blocks per portion, including blocks without data: 16 MiB, so that zeros need few portions
/// and a successor repeats little.
constexpr std::uint32_t kMaxPlanBlocks = 4096;

}  // namespace

BlockRun Session::plan_at(std::uint64_t position, std::uint32_t limit) const {
  const auto run = static_cast<std::size_t>(position >> kRunShift);
  const auto done = static_cast<std::uint32_t>(position);
  const auto& first = options_.plan->first;
  if (run < first.size()) {
    return {first[run].first + done, std::min(first[run].count - done, limit)};
  }
  const std::uint32_t blocks = chain_.mapping().block_count();
  if (!options_.plan->rest || done >= blocks) return {};
  return {done, std::min(blocks - done, limit)};
}

std::uint64_t Session::plan_after(std::uint64_t position, std::uint32_t blocks) const {
  const auto run = static_cast<std::size_t>(position >> kRunShift);
  const std::uint64_t done = static_cast<std::uint32_t>(position) + std::uint64_t{blocks};
  const auto& first = options_.plan->first;
  if (run < first.size() && done >= first[run].count) {
    return (std::uint64_t{run} + 1) << kRunShift;
  }
  return (std::uint64_t{run} << kRunShift) | done;
}

Session::Populated Session::populate(std::uint32_t max_blocks) {
  if (options_.plan == nullptr || state_ != SessionState::kServing) return Populated::kDone;
  if (shortage_.is_active()) return Populated::kWaits;
  std::uint32_t left = std::min(max_blocks, kPortionBlocks);
  while (left > 0) {
    // Plan first, so that the reader works while this thread copies. A portion that is given back
    // goes to the next session.
    plan_ahead();
    if (ahead_count_ == 0) return plan_ended_ ? Populated::kDone : Populated::kWaits;
    Portion& portion = *ahead_.front();
    const PortionState state = portion.state.load(std::memory_order_acquire);
    if (state == PortionState::kPosted || state == PortionState::kReading) {
      // A small limit means that faults are pending, which would wait for the read.
      const bool was_read = max_blocks >= kPortionBlocks && options_.reader->read_one();
      return was_read ? Populated::kMore : Populated::kWaits;
    }
    const bool filled = fill_portion(portion, left);
    if (state_ != SessionState::kServing) return Populated::kDone;
    if (!filled) return Populated::kMore;
    finish_portion();
  }
  return Populated::kMore;
}

void Session::plan_ahead() {
  PlanReader* reader = options_.reader;
  const std::size_t share = reader != nullptr ? reader->share() : 1;
  while (!plan_ended_ && ahead_count_ < share) {
    if (reader == nullptr && !own_portion_) own_portion_ = std::make_unique<Portion>();
    Portion* portion = reader != nullptr ? reader->take() : own_portion_.get();
    if (portion == nullptr) return;
    portion->clear();
    ahead_[ahead_count_++] = portion;
    if (!plan_portion(*portion)) {
      plan_ended_ = true;
      --ahead_count_;
      if (reader != nullptr) reader->give_back(*portion);
      return;
    }
    const auto has_data = [](const Piece& piece) { return !piece.zero; };
    const auto pieces = portion->planned();
    if (reader != nullptr && std::any_of(pieces.begin(), pieces.end(), has_data)) {
      reader->post(*portion);
    }
  }
}

bool Session::plan_portion(Portion& portion) {
  portion.chain = &chain_;
  std::uint32_t room = kPortionBlocks;
  while (portion.piece_count < kPortionPieces && portion.plan_blocks < kMaxPlanBlocks) {
    const BlockRun next = plan_at(planned_position_, kMaxPlanBlocks);
    if (next.count == 0) break;
    const PlannedPiece planned = plan_piece(next, room, portion);
    if (planned.plan_blocks == 0) break;
    if (planned.piece.count > 0) {
      portion.pieces[portion.piece_count++] = planned.piece;
      if (!planned.piece.zero) room -= planned.piece.count;
    }
    portion.plan_blocks += planned.plan_blocks;
    planned_position_ = plan_after(planned_position_, planned.plan_blocks);
  }
  portion.end_position = planned_position_;
  portion.piece_count = join_pieces(portion.planned(), regions_);
  return portion.plan_blocks > 0;
}

Session::PlannedPiece Session::plan_piece(const BlockRun& next, std::uint32_t room,
                                          const Portion& portion) const {
  const Region* region = regions_.find_block(next.first);
  if (region == nullptr) {
    return {{}, std::min(next.count, unmapped_from(next.first))};
  }
  if (region->page_bytes == kHugePageBytes) {
    const Piece page = run_at(*region, next.first, 1, 1);
    const std::uint32_t settled = std::min(next.count, page.count - (next.first - page.first));
    const bool has_it =
        portion.piece_count > 0 && portion.pieces[portion.piece_count - 1].first == page.first;
    const bool left_out = options_.plan->to_detach && is_zero_page(page.first);
    if (has_it || left_out || is_removed_page(page.first)) return {{}, settled};
    return room < page.count ? PlannedPiece{} : PlannedPiece{page, settled};
  }
  // Blocks that were given back become zeros when they are touched. Filling them would undo the
  // balloon's work.
  if (is_removed(next.first)) {
    const auto region_end =
        static_cast<std::uint32_t>((region->memory_offset + region->size_bytes) / kBlockBytes);
    const std::uint32_t in_region = region_end - next.first;
    return {{}, alike(next.first, std::min(next.count, in_region))};
  }
  const Piece run = run_at(*region, next.first, std::min(next.count, room), next.count);
  if (run.zero && options_.plan->to_detach) return {{}, run.count};
  return {run, run.count};
}

std::uint32_t Session::unmapped_from(std::uint32_t block) const {
  std::uint64_t next = chain_.mapping().block_count();
  for (const Region& region : regions_.regions()) {
    const std::uint64_t first = region.memory_offset / kBlockBytes;
    if (first > block) next = std::min(next, first);
  }
  return static_cast<std::uint32_t>(next - block);
}

bool Session::fill_portion(Portion& portion, std::uint32_t& left) {
  while (portion.next_piece < portion.piece_count) {
    if (left == 0) return false;
    const std::uint32_t settled = fill_piece(portion, left);
    if (settled == 0 || state_ != SessionState::kServing) return false;
    left -= std::min(left, settled);
    portion.next_block += settled;
    if (portion.next_block == portion.pieces[portion.next_piece].count) {
      ++portion.next_piece;
      portion.next_block = 0;
    }
  }
  return true;
}

void Session::finish_portion() {
  const Portion& portion = *ahead_.front();
  vm_.populate_position().set(portion.end_position);
  counters_.populated_bytes.add(portion.plan_blocks * kBlockBytes);
  if (options_.reader != nullptr) options_.reader->give_back(*ahead_.front());
  std::copy(ahead_.begin() + 1, ahead_.end(), ahead_.begin());
  --ahead_count_;
}

std::uint32_t Session::fill_piece(const Portion& portion, std::uint32_t limit) {
  const Piece& piece = portion.pieces[portion.next_piece];
  const Region& region = *regions_.find_block(piece.first);
  if (region.page_bytes == kHugePageBytes) return fill_page_piece(portion, region, piece.first);
  const std::uint32_t block = piece.first + portion.next_block;
  // Checked again: a REMOVE may have been read since the portion was planned.
  const std::uint32_t count = alike(block, std::min(piece.count - portion.next_block, limit));
  if (is_removed(block)) return count;
  while (true) {
    const Piece run{{block, std::min(count, populate_limit_)}, piece.zero};
    const os::FillResult result = fill_from(portion, region, run);
    if (state_ != SessionState::kServing) return 0;
    // If the fill stopped after some pages, the next fill shows why. If it stopped at the first
    // page with kPresent, that page is present.
    const bool present = result.outcome == os::FillOutcome::kPresent && result.bytes_done == 0;
    const std::uint32_t done =
        present ? 1 : static_cast<std::uint32_t>(result.bytes_done / kBlockBytes);
    (run.zero ? zeros_around_ : data_around_).mark_filled({block, done});
    limit_populate(run, result.outcome);
    switch (result.outcome) {
      case os::FillOutcome::kDone:
      case os::FillOutcome::kPresent:
        return done;
      case os::FillOutcome::kUnmapped:
        if (run.count == 1) return 1;
        break;
      default:
        return after_refused_populate(result, region, block + done);
    }
  }
}

std::uint32_t Session::fill_page_piece(const Portion& portion, const Region& region,
                                       std::uint32_t block) {
  if (is_removed_page(block)) return kHugePageBlocks;
  const os::FillResult result = distinguish_empty_pool(
      fill_from(portion, region, {{block, kHugePageBlocks}}), region, address_of(region, block));
  if (state_ != SessionState::kServing) return 0;
  const bool settled = result.outcome == os::FillOutcome::kDone ||
                       result.outcome == os::FillOutcome::kPresent ||
                       result.outcome == os::FillOutcome::kUnmapped;
  return settled ? kHugePageBlocks : after_refused_populate(result, region, block);
}

os::FillResult Session::fill_from(const Portion& portion, const Region& region, const Piece& run) {
  // Data that could not be read ahead is read again here; fill() fails closed.
  if (run.zero || portion.state.load(std::memory_order_relaxed) != PortionState::kRead) {
    return fill(region, run);
  }
  if (region.page_bytes == kHugePageBytes) return copy_huge_page(region, run.first, portion.buffer);
  const Piece& piece = portion.pieces[portion.next_piece];
  const std::size_t offset = (piece.buffer_block + (run.first - piece.first)) * kBlockBytes;
  return copy(address_of(region, run.first),
              portion.buffer.subspan(offset, run.count * kBlockBytes));
}

std::uint32_t Session::after_refused_populate(const os::FillResult& result, const Region& region,
                                              std::uint32_t block) {
  if (result.outcome == os::FillOutcome::kNoMemory) {
    // No thread waits for populated pages, except when the server wants to detach from the VM.
    begin_shortage(region, address_of(region, block), options_.plan->to_detach);
  }
  if (result.outcome == os::FillOutcome::kProcessGone) end();
  if (result.outcome == os::FillOutcome::kFailed) {
    fail_closed(system_error("populate", "guest memory", result.error_number).message, 0, 0);
  }
  return 0;
}

void Session::limit_populate(const Piece& run, os::FillOutcome outcome) {
  if (outcome == os::FillOutcome::kUnmapped) {
    populate_limit_ = 1;
  } else if (outcome == os::FillOutcome::kDone && run.count == populate_limit_) {
    populate_limit_ = std::min(2 * populate_limit_, kPortionBlocks);
  }
}

bool Session::stop_populating() {
  plan_ended_ = true;
  std::size_t kept = 0;
  for (std::size_t i = 0; i < ahead_count_; ++i) {
    if (options_.reader == nullptr || options_.reader->give_back(*ahead_[i])) continue;
    ahead_[kept++] = ahead_[i];
  }
  ahead_count_ = kept;
  return kept == 0;
}

void Session::set_plan(const PopulatePlan* plan, PlanReader* reader) {
  while (!stop_populating()) PlanReader::wait_for(*ahead_.front());
  options_.plan = plan;
  options_.reader = reader;
  if (plan->to_detach && shortage_.is_active()) shortage_.add_waiter(os::monotonic_ns());
  vm_.populate_position().set(0);
  planned_position_ = 0;
  plan_ended_ = false;
}

}  // namespace lamina::pager
