#include "pager/session.h"

#include <poll.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cstring>
#include <exception>
#include <utility>

#include "base/block.h"
#include "base/error.h"
#include "os/clock.h"
#include "os/fd.h"
#include "os/page_table.h"
#include "os/process.h"

namespace lamina::pager {
namespace {

/// After this many unread events a fill is given up: the faulting thread is woken and faults again,
/// so that other VMs get their turn.
constexpr int kMaxRereads = 4;

/// A VM that keeps sending REMOVEs for longer while it is being detached is malicious.
constexpr std::uint64_t kMaxDetachNs = 5'000'000'000;

constexpr int kReadAttempts = 3;

/// The bits of one kind of windows; `filled` contains those of both kinds.
std::span<std::uint64_t> words_of(const os::AnonymousMapping& filled, std::size_t kind,
                                  std::uint32_t block_count) {
  const std::size_t words = FaultAround::words_for(block_count);
  return std::span(reinterpret_cast<std::uint64_t*>(filled.bytes().data()) + kind * words, words);
}

/// Keeps the compiler from moving writes across this point. (CPU reordering does not matter: a
/// killed process has executed all instructions up to some point and none after it.)
void order_for_successor() { std::atomic_signal_fence(std::memory_order_seq_cst); }

void clear(uffd_msg& slot) {
  order_for_successor();
  std::memset(&slot, 0, sizeof(slot));
}

}  // namespace

Session::Session(const engine::Chain& chain, VmState& vm, RegionTable regions,
                 const VmDescriptors& descriptors, std::span<std::byte> buffer,
                 const SessionOptions& options, os::AnonymousMapping filled)
    : chain_(chain),
      vm_(vm),
      counters_(vm.counters()),
      regions_(std::move(regions)),
      fds_(descriptors),
      options_(options),
      planned_position_(vm.populate_position().get()),
      filled_(std::move(filled)),
      data_around_(chain.mapping().block_count(), {options.limits.data_blocks, kFaultsOfDataWindow},
                   words_of(filled_, 0, chain.mapping().block_count())),
      zeros_around_(chain.mapping().block_count(),
                    {options.limits.zero_blocks, kFaultsOfZeroWindow},
                    words_of(filled_, 1, chain.mapping().block_count())),
      slots_(vm.slots()),
      reread_slots_(vm.reread_slots()),
      removed_(vm.removed_bits()),
      buffer_(buffer),
      shortage_(options.shortage) {}

Result<std::unique_ptr<Session>> Session::create(const engine::Chain& chain, VmState& state,
                                                 const VmDescriptors& descriptors,
                                                 std::span<std::byte> buffer,
                                                 const SessionOptions& options) {
  if (chain.mapping().block_count() != blocks_for(state.record().memory_bytes)) {
    return fail(ErrorKind::kFailed, "VM {} has {} bytes of memory, the snapshot {} blocks",
                state.record().pid, state.record().memory_bytes, chain.mapping().block_count());
  }
  LAMINA_ASSIGN_OR_RETURN(RegionTable regions,
                          RegionTable::create(state.record().regions, state.record().memory_bytes));
  if (!os::may_signal(descriptors.pidfd)) {
    return fail(ErrorKind::kFailed,
                "process {} has ended, or this process may not kill it, so a page that cannot be "
                "served would make it hang; run as the same user or as root",
                state.record().pid);
  }
  const auto has_huge_pages = [](const Region& region) {
    return region.page_bytes == kHugePageBytes;
  };
  const auto all = regions.regions();
  const auto huge = std::find_if(all.begin(), all.end(), has_huge_pages);
  if (huge != all.end() && !os::has_page(state.record().pid, huge->host_address)) {
    return fail(ErrorKind::kFailed,
                "process {} has pages of 2 MiB, and its /proc/{}/pagemap cannot be read, so an "
                "empty pool of huge pages would go unnoticed; run as the same user or as root",
                state.record().pid, state.record().pid);
  }
  state.lock_slots();
  LAMINA_RETURN_IF_ERROR(os::set_nonblocking(descriptors.userfaultfd));
  const std::size_t filled_bytes =
      2 * FaultAround::words_for(chain.mapping().block_count()) * sizeof(std::uint64_t);
  LAMINA_ASSIGN_OR_RETURN(
      os::AnonymousMapping filled,
      os::AnonymousMapping::map(filled_bytes, "fill state of a VM", os::MappedPages::kSmall));
  std::unique_ptr<Session> session(new Session(chain, state, std::move(regions), descriptors,
                                               buffer, options, std::move(filled)));
  session->finish_predecessor_events();
  for (const Region& region : session->regions_.regions()) {
    session->wake(region.host_address, region.size_bytes);
  }
  return session;
}

Session::~Session() {
  while (!stop_populating()) PlanReader::wait_for(*ahead_.front());
}

void Session::finish_predecessor_events() {
  for (const std::span<uffd_msg> slots : {slots_, reread_slots_}) {
    apply_removes(slots);
    // Faults that were read but not served recur when their threads are woken.
    for (uffd_msg& slot : slots) clear(slot);
  }
}

SessionState Session::step(int timeout_ms) {
  if (state_ != SessionState::kServing) return state_;
  std::array<pollfd, 2> waiting = {pollfd{fds_.userfaultfd, POLLIN, 0},
                                   pollfd{fds_.pidfd, POLLIN, 0}};
  if (const auto due_ns = next_retry_ns()) {
    constexpr std::uint64_t kNanosecondsPerMillisecond = 1'000'000;
    const std::uint64_t now_ns = os::monotonic_ns();
    const auto left_ms =
        *due_ns <= now_ns ? 0
                          : static_cast<int>((*due_ns - now_ns) / kNanosecondsPerMillisecond) + 1;
    timeout_ms = timeout_ms < 0 ? left_ms : std::min(timeout_ms, left_ms);
  }
  const int ready = ::poll(waiting.data(), waiting.size(), has_deferred() ? 0 : timeout_ms);
  if (retry() != SessionState::kServing) return state_;
  if (ready == 0) return fill_deferred();
  if (ready < 0) return state_;
  if (waiting[0].revents != 0) handle_events();
  if (state_ == SessionState::kServing && waiting[1].revents != 0) end();
  return state_;
}

void Session::end() {
  if (state_ == SessionState::kServing) state_ = SessionState::kEnded;
}

std::size_t Session::handle_events() {
  if (state_ != SessionState::kServing) return 0;
  const std::size_t count = read_events(slots_);
  const std::uint64_t started_ns = os::monotonic_ns();
  if (options_.record_until_ns != 0 && started_ns >= options_.record_until_ns) end_recording();
  const auto events = slots_.first(count);
  apply_removes(events);
  refuse_forks(events);
  std::array<Around, VmState::kSlots> at_once{};
  std::size_t at_once_count = 0;
  for (uffd_msg& slot : events) {
    if (slot.event == UFFD_EVENT_PAGEFAULT && state_ == SessionState::kServing) {
      const Around around = serve_fault(slot.arg.pagefault.address);
      if (around.windows != nullptr) at_once[at_once_count++] = around;
      count_latency(started_ns);
    }
    clear(slot);
  }
  for (std::size_t i = 0; i < at_once_count; ++i) fill_around(at_once[i], kPortionBlocks);
  return count;
}

std::size_t Session::read_events(std::span<uffd_msg> slots) {
  const auto count = os::uffd_read(fds_.userfaultfd, slots);
  if (count) return *count;
  if (count.error().kind == ErrorKind::kNotFound) {
    end();  // the address space no longer exists
  } else {
    fail_closed(count.error().message, 0, 0);
  }
  return 0;
}

void Session::apply_removes(std::span<uffd_msg> slots) {
  for (uffd_msg& slot : slots) {
    if (slot.event != UFFD_EVENT_REMOVE) continue;
    counters_.removes.add(1);
    mark_removed(slot.arg.remove.start, slot.arg.remove.end);
    clear(slot);
  }
}

void Session::refuse_forks(std::span<const uffd_msg> slots) {
  for (const uffd_msg& slot : slots) {
    if (slot.event != UFFD_EVENT_FORK) continue;
    const os::Fd of_child(static_cast<int>(slot.arg.fork.ufd));
    fail_closed("the process has forked, and the memory of its child is not served", 0, 0);
  }
}

void Session::count_latency(std::uint64_t started_ns) {
  constexpr std::uint64_t kNanosecondsPerMicrosecond = 1000;
  const std::uint64_t elapsed_ns = os::monotonic_ns() - started_ns;
  counters_.latency_sum_ns.add(elapsed_ns);
  const std::uint64_t microseconds = elapsed_ns / kNanosecondsPerMicrosecond;
  const std::size_t bucket =
      std::min<std::size_t>(std::bit_width(microseconds), kLatencyBuckets - 1);
  counters_.latency[bucket].add(1);
}

void Session::end_recording() { options_.record_until_ns = 0; }

void Session::record(std::uint32_t block) {
  const std::uint64_t count = vm_.recorded_count().get();
  if (count >= kMaxRecordedBlocks) return end_recording();
  vm_.recorded_blocks()[count] = block;
  order_for_successor();
  vm_.recorded_count().set(count + 1);
}

void Session::mark_removed(std::uint64_t start, std::uint64_t end) {
  for (const Region& region : regions_.regions()) {
    const std::uint64_t from = std::max(start, region.host_address);
    const std::uint64_t to = std::min(end, region.host_end());
    if (from >= to) continue;
    const std::uint64_t first = (region.memory_offset + (from - region.host_address)) / kBlockBytes;
    const std::uint64_t last =
        std::min<std::uint64_t>(blocks_for(region.memory_offset + (to - region.host_address)),
                                chain_.mapping().block_count());
    if (first >= last) continue;
    write_bits(removed_, first, last, true);
    const BlockRun gone{static_cast<std::uint32_t>(first),
                        static_cast<std::uint32_t>(last - first)};
    data_around_.mark_missing(gone);
    zeros_around_.mark_missing(gone);
  }
}

bool Session::reread_events() {
  counters_.reread_events.add(1);
  const std::size_t count = read_events(reread_slots_);
  const auto events = reread_slots_.first(count);
  apply_removes(events);
  refuse_forks(events);
  for (uffd_msg& slot : events) {
    if (slot.event == UFFD_EVENT_PAGEFAULT) {
      const std::uint64_t address = slot.arg.pagefault.address;
      const Region* region = regions_.find(address);
      const std::uint64_t page_bytes = region != nullptr ? region->page_bytes : kBlockBytes;
      wake(address & ~(page_bytes - 1), page_bytes);
    }
    clear(slot);
  }
  return count > 0;
}

Session::Around Session::serve_fault(std::uint64_t address) {
  const Region* region = regions_.find(address);
  if (region == nullptr) {
    fail_closed(fmt::format("fault at {:#x}, outside every region", address), 0, 0);
    return {};
  }
  const std::uint64_t page =
      (address - region->host_address) / region->page_bytes * region->page_bytes;
  const auto block = static_cast<std::uint32_t>((region->memory_offset + page) / kBlockBytes);
  if (options_.record_until_ns != 0) record(block);
  if (shortage_.is_active() && shortage_.page_bytes() == region->page_bytes) {
    // Not served now: all waiting threads are woken when a page is available again.
    shortage_.add_waiter(os::monotonic_ns());
    return {};
  }
  for (int round = 0; round < kMaxRereads && state_ == SessionState::kServing; ++round) {
    const Piece run = run_at(*region, block, 1, 1);
    const os::FillResult result =
        distinguish_empty_pool(fill(*region, run), *region, region->host_address + page);
    if (state_ != SessionState::kServing) return {};
    if (result.outcome == os::FillOutcome::kDone) {
      (run.zero ? counters_.zero_faults : counters_.data_faults).add(1);
      return note_fault(run);
    }
    const Next next = after_refused_fill(result, *region, page);
    if (next == Next::kNothing) return {};
    if (next == Next::kWake) break;
  }
  wake(region->host_address + page, region->page_bytes);
  return {};
}

void Session::wake(std::uint64_t host_address, std::uint64_t length) {
  const Status woken = os::uffd_wake(fds_.userfaultfd, host_address, length);
  // An unmapped range has no waiters.
  if (!woken && woken.error().kind != ErrorKind::kNotFound) {
    fail_closed(woken.error().message, host_address, 0);
  }
}

Session::Next Session::after_refused_fill(const os::FillResult& result, const Region& region,
                                          std::uint64_t page) {
  switch (result.outcome) {
    case os::FillOutcome::kUnreadEvent:
      // A REMOVE may have changed this page. If no event can be read yet, its thread has yet to
      // run: wake the fault, so that it recurs.
      return reread_events() ? Next::kAgain : Next::kWake;
    case os::FillOutcome::kPresent:
      counters_.present_faults.add(1);
      return Next::kWake;
    case os::FillOutcome::kUnmapped:
      return Next::kWake;
    case os::FillOutcome::kProcessGone:
      end();
      return Next::kNothing;
    case os::FillOutcome::kNoMemory:
      begin_shortage(region, region.host_address + page, true);
      return Next::kNothing;
    case os::FillOutcome::kFailed:
      fail_closed(system_error("fill", fmt::format("{:#x}", region.host_address + page),
                               result.error_number)
                      .message,
                  region.host_address + page, region.page_bytes);
      return Next::kNothing;
    case os::FillOutcome::kDone:
      return Next::kNothing;
  }
  return Next::kNothing;
}

Session::Around Session::note_fault(const Piece& run) {
  // A huge page is filled as a whole. While faults are recorded, each block must fault itself.
  if (run.count > 1 || (!run.zero && options_.record_until_ns != 0)) return {};
  FaultAround& windows = run.zero ? zeros_around_ : data_around_;
  return windows.add_fault(run.first) ? Around{&windows, run.first} : Around{};
}

SessionState Session::fill_deferred() {
  if (state_ != SessionState::kServing) return state_;
  const bool zeros = !data_around_.has_deferred();
  FaultAround& windows = zeros ? zeros_around_ : data_around_;
  if (!windows.has_deferred()) return state_;
  const Around around{&windows, windows.oldest_deferred()};
  const bool more = fill_around(around, zeros ? kZeroPartBlocks : kDataPartBlocks);
  if (!more) windows.drop_oldest_deferred();
  return state_;
}

bool Session::fill_around(const Around& around, std::uint32_t limit) {
  if (state_ != SessionState::kServing) return false;
  FaultAround& windows = *around.windows;
  const bool zeros = &windows == &zeros_around_;
  const Region& region = *regions_.find_block(around.block);
  // Determined again: a REMOVE may have been read since.
  const BlockRun piece = piece_around(region, around);
  const BlockRun part = windows.next_part(piece, around.block, limit);
  if (part.count == 0) return false;
  const auto data = buffer_.first(zeros ? 0 : part.count * kBlockBytes);
  if (!zeros && !read_blocks(part.first, data, address_of(region, part.first))) {
    return false;
  }
  const std::uint32_t end = part.end();
  for (std::uint32_t block = part.first; block < end;) {
    const std::uint32_t missing = windows.missing_from(block, end);
    if (missing == 0) {
      ++block;
      continue;
    }
    const std::uint64_t offset = (block - part.first) * kBlockBytes;
    const auto bytes = zeros ? data : data.subspan(offset, missing * kBlockBytes);
    const std::uint32_t settled = fill_missing(windows, region, {{block, missing}, zeros}, bytes);
    if (settled == 0) return false;
    block += settled;
  }
  return windows.next_part(piece, around.block, limit).count > 0;
}

std::uint32_t Session::fill_missing(FaultAround& windows, const Region& region, const Piece& run,
                                    std::span<const std::byte> data) {
  const std::uint64_t address = address_of(region, run.first);
  const os::FillResult result =
      run.zero ? zero(address, run.count * kBlockBytes) : copy(address, data);
  const auto done = static_cast<std::uint32_t>(result.bytes_done / kBlockBytes);
  windows.mark_filled({run.first, done});
  switch (result.outcome) {
    case os::FillOutcome::kDone:
      return done;
    case os::FillOutcome::kPresent:
      // If some blocks were filled, the next call shows why it stopped.
      if (done > 0) return done;
      windows.mark_filled({run.first, 1});
      return 1;
    case os::FillOutcome::kProcessGone:
      end();
      return 0;
    case os::FillOutcome::kFailed:
      fail_closed(system_error("fill", "guest memory", result.error_number).message, 0, 0);
      return 0;
    case os::FillOutcome::kUnreadEvent:
    case os::FillOutcome::kUnmapped:
    case os::FillOutcome::kNoMemory:  // handled when one of the blocks faults
      return 0;
  }
  return 0;
}

BlockRun Session::piece_around(const Region& region, const Around& around) const {
  const mapping::Mapping& mapping = chain_.mapping();
  const bool zeros = around.windows == &zeros_around_;
  std::size_t index = mapping.find(around.block);
  mapping::Extent extent = mapping.extent(index);
  const auto is_of_kind = [&](std::uint32_t block) {
    while (block < extent.guest_block) extent = mapping.extent(--index);
    while (block >= extent.guest_end()) extent = mapping.extent(++index);
    return (extent.layer == mapping::kZeros || is_removed(block)) == zeros;
  };
  if (!is_of_kind(around.block)) return {};
  const BlockRun window = around.windows->window_of(around.block);
  const auto region_first = static_cast<std::uint32_t>(region.memory_offset / kBlockBytes);
  const auto region_end =
      static_cast<std::uint32_t>((region.memory_offset + region.size_bytes) / kBlockBytes);
  const std::uint32_t lowest = std::max(window.first, region_first);
  const std::uint32_t highest = std::min(window.end(), region_end);
  std::uint32_t first = around.block;
  while (first > lowest && is_of_kind(first - 1)) --first;
  std::uint32_t end = around.block + 1;
  while (end < highest && is_of_kind(end)) ++end;
  return {first, end - first};
}

Piece Session::run_at(const Region& region, std::uint32_t block, std::uint32_t most_data,
                      std::uint32_t most_zeros) const {
  if (region.page_bytes == kHugePageBytes) {
    const std::uint64_t in_region = block - region.memory_offset / kBlockBytes;
    return {{block - static_cast<std::uint32_t>(in_region % kHugePageBlocks), kHugePageBlocks}};
  }
  const std::uint32_t region_end = static_cast<std::uint32_t>(std::min<std::uint64_t>(
      (region.memory_offset + region.size_bytes) / kBlockBytes, chain_.mapping().block_count()));
  Piece run{{block, 0}, is_removed(block)};
  if (run.zero) {
    const std::uint32_t end = block + std::min(most_zeros, region_end - block);
    while (block + run.count < end && is_removed(block + run.count)) ++run.count;
    return run;
  }
  mapping::Extent extent = chain_.mapping().resolve(block);
  run.zero = extent.layer == mapping::kZeros;
  if (run.zero) {
    run.count = std::min({extent.block_count, most_zeros, region_end - block});
    return run;
  }
  // Data: across extents, up to zeros, a removed block, or the limit.
  const std::uint32_t limit = std::min(most_data, region_end - block);
  while (run.count < limit) {
    if (is_removed(block + run.count)) break;
    if (run.count >= extent.guest_end() - block) {
      extent = chain_.mapping().resolve(block + run.count);
      if (extent.layer == mapping::kZeros) break;
    }
    ++run.count;
  }
  return run;
}

os::FillResult Session::fill(const Region& region, const Piece& run) {
  if (region.page_bytes == kHugePageBytes) return fill_huge_page(region, run.first);
  const std::uint64_t address = address_of(region, run.first);
  const std::uint64_t length = run.count * kBlockBytes;
  if (run.zero) {
    return zero(address, length);
  }
  const auto data = buffer_.first(length);
  if (!read_blocks(run.first, data, address)) return {};
  return copy(address, data);
}

os::FillResult Session::zero(std::uint64_t address, std::uint64_t length) {
  const os::FillResult result = os::uffd_zero(fds_.userfaultfd, address, length);
  counters_.zero_bytes.add(result.bytes_done);
  return result;
}

os::FillResult Session::copy(std::uint64_t address, std::span<const std::byte> data) {
  const os::FillResult result = os::uffd_copy(fds_.userfaultfd, address, data);
  counters_.data_bytes.add(result.bytes_done);
  return result;
}

os::FillResult Session::fill_huge_page(const Region& region, std::uint32_t first_block) {
  const auto page = buffer_.first(kHugePageBytes);
  const std::uint32_t known =
      std::min(kHugePageBlocks, chain_.mapping().block_count() - first_block);
  if (!read_blocks(first_block, page.first(known * kBlockBytes), address_of(region, first_block))) {
    return {};
  }
  std::fill(page.begin() + known * static_cast<std::ptrdiff_t>(kBlockBytes), page.end(),
            std::byte{0});
  return copy_huge_page(region, first_block, page);
}

os::FillResult Session::copy_huge_page(const Region& region, std::uint32_t first_block,
                                       std::span<std::byte> page) {
  const std::uint32_t known =
      std::min(kHugePageBlocks, chain_.mapping().block_count() - first_block);
  for (std::uint32_t i = 0; i < known; ++i) {
    if (!is_removed(first_block + i)) continue;
    const auto block = page.subspan(i * kBlockBytes, kBlockBytes);
    std::fill(block.begin(), block.end(), std::byte{0});
  }
  return copy(address_of(region, first_block), page);
}

bool Session::read_blocks(std::uint32_t block, std::span<std::byte> buffer,
                          std::uint64_t host_address) {
  for (int attempt = 1;; ++attempt) {
    const Status read = chain_.read(block, buffer, engine::Chain::Check::kChecksums);
    if (read) return true;
    if (attempt == kReadAttempts) {
      fail_closed(read.error().message, host_address, buffer.size());
      return false;
    }
    counters_.read_retries.add(1);
  }
}

void Session::fail_closed(const std::string& cause, std::uint64_t host_address,
                          std::uint64_t length) {
  if (state_ != SessionState::kServing) return;
  state_ = SessionState::kKilled;
  failure_ = cause;
  // Kill first: poisoning the page is only the second line of defence.
  const Status killed = os::kill_process(fds_.pidfd);
  if (!killed) failure_ += "; " + killed.error().message;
  if (length > 0) {
    const std::uint64_t pages = (length + kBlockBytes - 1) / kBlockBytes * kBlockBytes;
    static_cast<void>(os::uffd_poison(fds_.userfaultfd, host_address, pages));
  }
}

void Session::give_up(const char* cause) noexcept {
  if (state_ != SessionState::kServing) return;
  state_ = SessionState::kKilled;
  try {
    static_cast<void>(os::kill_process(fds_.pidfd));
    failure_ = cause;
  } catch (const std::exception&) {
    // The caller kills the VM again when it learns that the session has ended.
    failure_.clear();
  }
}

bool Session::detach() {
  if (state_ != SessionState::kServing) return true;
  if (detached_ns_ == 0) {
    for (const Region& region : regions_.regions()) {
      const Status done =
          os::uffd_unregister(fds_.userfaultfd, region.host_address, region.size_bytes);
      if (done) continue;
      // The kernel also reports ENOMEM if the address space is gone; a fill shows which it is.
      if (fill_zeros_at(region).outcome == os::FillOutcome::kProcessGone) {
        end();
      } else {
        fail_closed(done.error().message, 0, 0);
      }
      return true;
    }
    detached_ns_ = os::monotonic_ns();
  }
  // A thread that was giving memory back waits until its event is read. Until then the kernel
  // refuses to fill (EAGAIN); afterwards the fill finds no registered range.
  const os::FillResult probe = fill_zeros_at(regions_.regions().front());
  if (probe.outcome != os::FillOutcome::kUnreadEvent) {
    state_ = probe.outcome == os::FillOutcome::kProcessGone ? SessionState::kEnded
                                                            : SessionState::kDetached;
    return true;
  }
  reread_events();
  if (os::monotonic_ns() - detached_ns_ > kMaxDetachNs) {
    fail_closed("the VM kept giving memory back while it was being detached", 0, 0);
  }
  return state_ != SessionState::kServing;
}

os::FillResult Session::fill_zeros_at(const Region& region) {
  const auto zeros = buffer_.first(region.page_bytes);
  std::fill(zeros.begin(), zeros.end(), std::byte{0});
  return os::uffd_copy(fds_.userfaultfd, region.host_address, zeros);
}

bool Session::is_removed_page(std::uint32_t first_block) const {
  return is_removed(first_block) && alike(first_block, kHugePageBlocks) == kHugePageBlocks;
}

bool Session::is_zero_page(std::uint32_t first_block) const {
  const mapping::Extent extent = chain_.mapping().resolve(first_block);
  const std::uint32_t known =
      std::min(kHugePageBlocks, chain_.mapping().block_count() - first_block);
  return extent.layer == mapping::kZeros && extent.guest_end() - first_block >= known;
}

std::uint32_t Session::alike(std::uint32_t block, std::uint32_t limit) const {
  const bool removed = is_removed(block);
  std::uint32_t count = 1;
  while (count < limit && is_removed(block + count) == removed) ++count;
  return count;
}

std::uint64_t Session::address_of(const Region& region, std::uint32_t block) const {
  return region.host_address + (block * kBlockBytes - region.memory_offset);
}

}  // namespace lamina::pager
