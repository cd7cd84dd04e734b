#include "pager/populator.h"

#include <algorithm>

#include "base/block.h"
#include "base/error.h"

namespace lamina::pager {
namespace {

/// A position in the plan: the run in the upper half, the block in the run in the lower half. After
/// the last run the lower half is a block of the memory.
constexpr unsigned kRunShift = 32;

/// Plan blocks per portion, including blocks without data: 16 MiB, so that zeros need few portions
/// and a successor repeats little.
constexpr std::uint32_t kMaxPlanBlocks = 4096;

/// A VM that keeps sending REMOVEs for longer while it is being detached is malicious.
constexpr std::uint64_t kMaxDetachNs = 5'000'000'000;

}  // namespace

Populator::Populator(GuestMemory& memory, Shortage& shortage, const PopulatePlan* plan,
                     PlanReader* reader)
    : memory_(memory),
      vm_(memory.vm()),
      shortage_(shortage),
      plan_(plan),
      reader_(reader),
      planned_position_(memory.vm().populate_position().get()) {}

Populator::~Populator() {
  while (!stop()) PlanReader::wait_for(*ahead_.front());
}

BlockRun Populator::plan_at(std::uint64_t position, std::uint32_t limit) const {
  const auto run = static_cast<std::size_t>(position >> kRunShift);
  const auto done = static_cast<std::uint32_t>(position);
  const auto& first = plan_->first;
  if (run < first.size()) {
    return {first[run].first + done, std::min(first[run].count - done, limit)};
  }
  const std::uint32_t blocks = memory_.mapping().block_count();
  if (!plan_->rest || done >= blocks) return {};
  return {done, std::min(blocks - done, limit)};
}

std::uint64_t Populator::plan_after(std::uint64_t position, std::uint32_t blocks) const {
  const auto run = static_cast<std::size_t>(position >> kRunShift);
  const std::uint64_t done = static_cast<std::uint32_t>(position) + std::uint64_t{blocks};
  const auto& first = plan_->first;
  if (run < first.size() && done >= first[run].count) {
    return (std::uint64_t{run} + 1) << kRunShift;
  }
  return (std::uint64_t{run} << kRunShift) | done;
}

Populated Populator::populate(std::uint32_t max_blocks) {
  if (plan_ == nullptr || !memory_.is_serving()) return Populated::kDone;
  if (shortage_.is_active()) return Populated::kWaits;
  // A portion of a plan has blocks from everywhere: it is read when all of them are here.
  if (memory_.arriving() != nullptr && !memory_.arriving()->is_whole()) return wait_for_arrival();
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
      const bool was_read = max_blocks >= kPortionBlocks && reader_->read_one();
      return was_read ? Populated::kMore : Populated::kWaits;
    }
    const bool filled = fill_portion(portion, left);
    if (!memory_.is_serving()) return Populated::kDone;
    if (!filled) return Populated::kMore;
    finish_portion();
  }
  return Populated::kMore;
}

Populated Populator::wait_for_arrival() {
  if (!plan_->to_detach || !memory_.arriving()->is_lost()) return Populated::kWaits;
  memory_.fail_closed("its memory has not arrived, and the bucket does not have it any more", 0, 0);
  return Populated::kDone;
}

void Populator::plan_ahead() {
  PlanReader* reader = reader_;
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

bool Populator::plan_portion(Portion& portion) {
  portion.chain = &memory_.chain();
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
  portion.piece_count = join_pieces(portion.planned(), memory_.regions());
  return portion.plan_blocks > 0;
}

Populator::PlannedPiece Populator::plan_piece(const BlockRun& next, std::uint32_t room,
                                              const Portion& portion) const {
  const Region* region = memory_.regions().find_block(next.first);
  if (region == nullptr) {
    return {{}, std::min(next.count, unmapped_from(next.first))};
  }
  if (region->page_bytes == kHugePageBytes) {
    const Piece page = memory_.run_at(*region, next.first, 1, 1);
    const std::uint32_t settled = std::min(next.count, page.count - (next.first - page.first));
    const bool has_it =
        portion.piece_count > 0 && portion.pieces[portion.piece_count - 1].first == page.first;
    const bool left_out = plan_->to_detach && is_zero_page(page.first);
    if (has_it || left_out || memory_.is_removed_page(page.first)) return {{}, settled};
    return room < page.count ? PlannedPiece{} : PlannedPiece{page, settled};
  }
  // Blocks that were given back become zeros when they are touched. Filling them would undo the
  // balloon's work.
  if (memory_.is_removed(next.first)) {
    const auto region_end =
        static_cast<std::uint32_t>((region->memory_offset + region->size_bytes) / kBlockBytes);
    const std::uint32_t in_region = region_end - next.first;
    return {{}, memory_.alike(next.first, std::min(next.count, in_region))};
  }
  const Piece run = memory_.run_at(*region, next.first, std::min(next.count, room), next.count);
  if (run.zero && plan_->to_detach) return {{}, run.count};
  return {run, run.count};
}

bool Populator::is_zero_page(std::uint32_t first_block) const {
  const mapping::Mapping& mapping = memory_.mapping();
  const mapping::Extent extent = mapping.resolve(first_block);
  const std::uint32_t known = std::min(kHugePageBlocks, mapping.block_count() - first_block);
  return extent.layer == mapping::kZeros && extent.guest_end() - first_block >= known;
}

std::uint32_t Populator::unmapped_from(std::uint32_t block) const {
  std::uint64_t next = memory_.mapping().block_count();
  for (const Region& region : memory_.regions().regions()) {
    const std::uint64_t first = region.memory_offset / kBlockBytes;
    if (first > block) next = std::min(next, first);
  }
  return static_cast<std::uint32_t>(next - block);
}

bool Populator::fill_portion(Portion& portion, std::uint32_t& left) {
  while (portion.next_piece < portion.piece_count) {
    if (left == 0) return false;
    const std::uint32_t settled = fill_piece(portion, left);
    if (settled == 0 || !memory_.is_serving()) return false;
    left -= std::min(left, settled);
    portion.next_block += settled;
    if (portion.next_block == portion.pieces[portion.next_piece].count) {
      ++portion.next_piece;
      portion.next_block = 0;
    }
  }
  return true;
}

void Populator::finish_portion() {
  const Portion& portion = *ahead_.front();
  vm_.populate_position().set(portion.end_position);
  vm_.counters().populated_bytes.add(portion.plan_blocks * kBlockBytes);
  if (reader_ != nullptr) reader_->give_back(*ahead_.front());
  std::copy(ahead_.begin() + 1, ahead_.end(), ahead_.begin());
  --ahead_count_;
}

std::uint32_t Populator::fill_piece(const Portion& portion, std::uint32_t limit) {
  const Piece& piece = portion.pieces[portion.next_piece];
  const Region& region = *memory_.regions().find_block(piece.first);
  if (region.page_bytes == kHugePageBytes) return fill_page_piece(portion, region, piece.first);
  const std::uint32_t block = piece.first + portion.next_block;
  // Checked again: a REMOVE may have been read since the portion was planned.
  const std::uint32_t count =
      memory_.alike(block, std::min(piece.count - portion.next_block, limit));
  if (memory_.is_removed(block)) return count;
  while (true) {
    const Piece run{{block, std::min(count, run_limit_)}, piece.zero};
    const os::FillResult result = fill_from(portion, region, run);
    if (!memory_.is_serving()) return 0;
    // If the fill stopped after some pages, the next fill shows why. If it stopped at the first
    // page with kPresent, that page is present.
    const bool present = result.outcome == os::FillOutcome::kPresent && result.bytes_done == 0;
    const std::uint32_t done =
        present ? 1 : static_cast<std::uint32_t>(result.bytes_done / kBlockBytes);
    memory_.mark_filled(run, done);
    limit_runs(run, result.outcome);
    switch (result.outcome) {
      case os::FillOutcome::kDone:
      case os::FillOutcome::kPresent:
        return done;
      case os::FillOutcome::kUnmapped:
        if (run.count == 1) return 1;
        break;
      default:
        return after_refused_fill(result, region, block + done);
    }
  }
}

std::uint32_t Populator::fill_page_piece(const Portion& portion, const Region& region,
                                         std::uint32_t block) {
  if (memory_.is_removed_page(block)) return kHugePageBlocks;
  const os::FillResult result = fill_from(portion, region, {{block, kHugePageBlocks}});
  if (!memory_.is_serving()) return 0;
  const bool settled = result.outcome == os::FillOutcome::kDone ||
                       result.outcome == os::FillOutcome::kPresent ||
                       result.outcome == os::FillOutcome::kUnmapped;
  return settled ? kHugePageBlocks : after_refused_fill(result, region, block);
}

os::FillResult Populator::fill_from(const Portion& portion, const Region& region,
                                    const Piece& run) {
  // Data that could not be read ahead is read again here; fill() fails closed.
  if (run.zero || portion.state.load(std::memory_order_relaxed) != PortionState::kRead) {
    return memory_.fill(region, run);
  }
  if (region.page_bytes == kHugePageBytes)
    return memory_.copy_huge_page(region, run.first, portion.buffer);
  const Piece& piece = portion.pieces[portion.next_piece];
  const std::size_t offset = (piece.buffer_block + (run.first - piece.first)) * kBlockBytes;
  return memory_.copy(memory_.address_of(region, run.first),
                      portion.buffer.subspan(offset, run.count * kBlockBytes));
}

std::uint32_t Populator::after_refused_fill(const os::FillResult& result, const Region& region,
                                            std::uint32_t block) {
  if (result.outcome == os::FillOutcome::kNoMemory) {
    // No thread waits for populated pages, except when the server wants to detach from the VM.
    shortage_.begin(memory_.address_of(region, block), region.page_bytes, plan_->to_detach,
                    memory_.syscalls().monotonic_ns());
  }
  if (result.outcome == os::FillOutcome::kProcessGone) memory_.end();
  if (result.outcome == os::FillOutcome::kFailed) {
    memory_.fail_closed(system_error("populate", "guest memory", result.error_number).message, 0,
                        0);
  }
  return 0;
}

void Populator::limit_runs(const Piece& run, os::FillOutcome outcome) {
  if (outcome == os::FillOutcome::kUnmapped) {
    run_limit_ = 1;
  } else if (outcome == os::FillOutcome::kDone && run.count == run_limit_) {
    run_limit_ = std::min(2 * run_limit_, kPortionBlocks);
  }
}

bool Populator::stop() {
  plan_ended_ = true;
  std::size_t kept = 0;
  for (std::size_t i = 0; i < ahead_count_; ++i) {
    if (reader_ == nullptr || reader_->give_back(*ahead_[i])) continue;
    ahead_[kept++] = ahead_[i];
  }
  ahead_count_ = kept;
  return kept == 0;
}

void Populator::set_plan(const PopulatePlan* plan, PlanReader* reader) {
  while (!stop()) PlanReader::wait_for(*ahead_.front());
  plan_ = plan;
  reader_ = reader;
  if (plan->to_detach && shortage_.is_active())
    shortage_.add_waiter(memory_.syscalls().monotonic_ns());
  vm_.populate_position().set(0);
  planned_position_ = 0;
  plan_ended_ = false;
}

bool Populator::detach() {
  if (!memory_.is_serving()) return true;
  if (detached_ns_ == 0 && !unregister_all()) return true;
  // A thread that was giving memory back waits until its event is read. Until then the kernel
  // refuses to fill (EAGAIN); afterwards the fill finds no registered range.
  const os::FillResult probe = memory_.fill_zeros_at(memory_.regions().regions().front());
  if (probe.outcome == os::FillOutcome::kProcessGone) {
    memory_.end();
    return true;
  }
  if (probe.outcome != os::FillOutcome::kUnreadEvent) {
    memory_.set_detached();
    return true;
  }
  memory_.reread_events();
  if (memory_.syscalls().monotonic_ns() - detached_ns_ > kMaxDetachNs) {
    memory_.fail_closed("the VM kept giving memory back while it was being detached", 0, 0);
  }
  return !memory_.is_serving();
}

bool Populator::unregister_all() {
  for (const Region& region : memory_.regions().regions()) {
    const Status done = memory_.syscalls().unregister(region.host_address, region.size_bytes);
    if (done) continue;
    // The kernel also reports ENOMEM if the address space is gone; a fill shows which it is.
    if (memory_.fill_zeros_at(region).outcome == os::FillOutcome::kProcessGone) {
      memory_.end();
    } else {
      memory_.fail_closed(done.error().message, 0, 0);
    }
    return false;
  }
  detached_ns_ = memory_.syscalls().monotonic_ns();
  return true;
}

}  // namespace lamina::pager
