#include "pager/session.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>

#include "base/block.h"
#include "base/error.h"
#include "sys/process.h"

namespace lamina::pager {
namespace {

constexpr std::size_t kSlots = 16;
constexpr std::uint32_t kHugePageBlocks = kHugePageBytes / kBlockBytes;

/// A fill that keeps meeting unread events gives way to the loop after so many rounds; the faulting
/// thread is woken and faults again. A guest that floods us with REMOVEs so delays only itself.
constexpr int kMaxRereads = 64;

constexpr int kReadAttempts = 3;

}  // namespace

Session::Session(const engine::Chain& chain, RegionTable regions, const FaultLimits& limits)
    : chain_(chain),
      regions_(std::move(regions)),
      limits_(limits),
      removed_((chain.mapping().block_count() + 63) / 64, 0),
      buffer_(std::max<std::size_t>(limits.data_blocks, kHugePageBlocks) * kBlockBytes) {}

Result<std::unique_ptr<Session>> Session::create(const engine::Chain& chain, Handshake handshake,
                                                 RegionTable regions, int socket,
                                                 const FaultLimits& limits) {
  std::unique_ptr<Session> session(new Session(chain, std::move(regions), limits));
  session->userfaultfd_ = std::move(handshake.userfaultfd);
  session->socket_ = socket;
  session->peer_pid_ = handshake.peer_pid;
  LAMINA_ASSIGN_OR_RETURN(session->pidfd_, sys::open_process(handshake.peer_pid));
  if (!sys::may_signal(session->pidfd_.get())) {
    return fail(ErrorKind::kFailed,
                "process {} may not be killed by this one, so a page that cannot be served would "
                "leave it hanging; run as the same user or as root",
                handshake.peer_pid);
  }
  LAMINA_ASSIGN_OR_RETURN(session->slots_memory_,
                          sys::LockedMemory::allocate(2 * kSlots * sizeof(uffd_msg)));
  const std::span all(reinterpret_cast<uffd_msg*>(session->slots_memory_.bytes().data()),
                      2 * kSlots);
  session->slots_ = all.first(kSlots);
  session->reread_slots_ = all.last(kSlots);
  for (const Region& region : session->regions_.regions()) {
    LAMINA_RETURN_IF_ERROR(
        sys::uffd_wake(session->userfaultfd_.get(), region.host_address, region.size_bytes));
  }
  return session;
}

SessionState Session::step(int timeout_ms) {
  if (state_ != SessionState::kServing) return state_;
  std::array<pollfd, 2> waiting = {pollfd{userfaultfd_.get(), POLLIN, 0},
                                   pollfd{socket_, POLLIN | POLLRDHUP, 0}};
  const int ready = ::poll(waiting.data(), waiting.size(), timeout_ms);
  if (ready < 0 && errno != EINTR) {
    fail_closed(system_error("poll", "userfaultfd", errno).message, 0, 0);
    return state_;
  }
  if (ready <= 0) return state_;
  if (waiting[0].revents != 0) read_and_handle_events();
  // Firecracker keeps the socket open for as long as it lives; it never sends anything more.
  if (state_ == SessionState::kServing &&
      (waiting[1].revents & (POLLHUP | POLLRDHUP | POLLERR)) != 0) {
    state_ = SessionState::kEnded;
  }
  return state_;
}

void Session::read_and_handle_events() {
  const std::size_t count = read_events(slots_);
  apply_removes(slots_.first(count));
  for (std::size_t i = 0; i < count && state_ == SessionState::kServing; ++i) {
    if (slots_[i].event != UFFD_EVENT_PAGEFAULT) continue;
    ++counters_.faults;
    serve_fault(slots_[i].arg.pagefault.address);
  }
}

std::size_t Session::read_events(std::span<uffd_msg> slots) {
  const auto count = sys::uffd_read(userfaultfd_.get(), slots);
  if (count) return *count;
  fail_closed(count.error().message, 0, 0);
  return 0;
}

void Session::apply_removes(std::span<const uffd_msg> events) {
  for (const uffd_msg& event : events) {
    if (event.event != UFFD_EVENT_REMOVE) continue;
    ++counters_.removes;
    mark_removed(event.arg.remove.start, event.arg.remove.end);
  }
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
    for (std::uint64_t block = first; block < last; ++block) {
      removed_[block / 64] |= std::uint64_t{1} << (block % 64);
    }
  }
}

void Session::reread_events() {
  ++counters_.reread_events;
  const std::size_t count = read_events(reread_slots_);
  apply_removes(reread_slots_.first(count));
  for (std::size_t i = 0; i < count; ++i) {
    if (reread_slots_[i].event != UFFD_EVENT_PAGEFAULT) continue;
    const std::uint64_t page = reread_slots_[i].arg.pagefault.address & ~(kBlockBytes - 1);
    static_cast<void>(sys::uffd_wake(userfaultfd_.get(), page, kBlockBytes));
  }
}

void Session::serve_fault(std::uint64_t address) {
  const Region* region = regions_.find(address);
  if (region == nullptr) {
    return fail_closed(fmt::format("fault at {:#x}, outside every region", address), 0, 0);
  }
  const std::uint64_t page =
      (address - region->host_address) / region->page_bytes * region->page_bytes;
  const auto block = static_cast<std::uint32_t>((region->memory_offset + page) / kBlockBytes);
  bool single = false;
  for (int round = 0; round < kMaxRereads && state_ == SessionState::kServing; ++round) {
    const bool huge = region->page_bytes == kHugePageBytes;
    const FaultLimits limits = single ? FaultLimits{1, 1} : limits_;
    const sys::FillResult result =
        huge ? fill_huge_page(*region, block) : fill(*region, run_at(*region, block, limits));
    if (state_ != SessionState::kServing) return;
    switch (result.outcome) {
      case sys::FillOutcome::kUnreadEvent:
        reread_events();
        continue;  // a REMOVE may have changed what this page is
      case sys::FillOutcome::kPresent:
        if (result.bytes_done > 0) return;  // the faulting page is filled and woken
        ++counters_.already_present;
        break;
      case sys::FillOutcome::kProcessGone:
        state_ = SessionState::kEnded;
        return;
      case sys::FillOutcome::kFailed:
        return fail_closed(
            system_error("fill", fmt::format("{:#x}", address), result.error_number).message,
            region->host_address + page, region->page_bytes);
      case sys::FillOutcome::kUnmapped:
        // The run may cross the border of a mapping inside the region: then the page alone fits.
        if (single) break;
        single = true;
        continue;
      case sys::FillOutcome::kDone:
        return;
    }
    break;
  }
  static_cast<void>(
      sys::uffd_wake(userfaultfd_.get(), region->host_address + page, region->page_bytes));
}

Session::Run Session::run_at(const Region& region, std::uint32_t block,
                             const FaultLimits& limits) const {
  const std::uint32_t region_end = static_cast<std::uint32_t>(std::min<std::uint64_t>(
      (region.memory_offset + region.size_bytes) / kBlockBytes, chain_.mapping().block_count()));
  Run run{block, 0, is_removed(block)};
  if (run.zero) {
    const std::uint32_t end = std::min(region_end, block + limits.zero_blocks);
    while (block + run.count < end && is_removed(block + run.count)) ++run.count;
    return run;
  }
  mapping::Extent extent = chain_.mapping().resolve(block);
  run.zero = extent.layer == mapping::kZeros;
  if (run.zero) {
    run.count = std::min({extent.block_count, limits.zero_blocks, region_end - block});
    return run;
  }
  // Data: over the borders of extents, up to zeros, a removed block, or the limit.
  const std::uint32_t limit = std::min(limits.data_blocks, region_end - block);
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

sys::FillResult Session::fill(const Region& region, const Run& run) {
  const std::uint64_t address = address_of(region, run.block);
  const std::uint64_t length = run.count * kBlockBytes;
  if (run.zero) {
    const sys::FillResult result = sys::uffd_zero(userfaultfd_.get(), address, length);
    counters_.zero_bytes += result.bytes_done;
    return result;
  }
  const auto data = std::span(buffer_).first(length);
  if (!read_blocks(run.block, data, address)) return {};
  const sys::FillResult result = sys::uffd_copy(userfaultfd_.get(), address, data);
  counters_.data_bytes += result.bytes_done;
  return result;
}

sys::FillResult Session::fill_huge_page(const Region& region, std::uint32_t first_block) {
  const std::uint64_t address = address_of(region, first_block);
  const auto page = std::span(buffer_).first(kHugePageBytes);
  const std::uint32_t known =
      std::min(kHugePageBlocks, chain_.mapping().block_count() - first_block);
  if (!read_blocks(first_block, page.first(known * kBlockBytes), address)) return {};
  std::fill(page.begin() + known * static_cast<std::ptrdiff_t>(kBlockBytes), page.end(),
            std::byte{0});
  for (std::uint32_t i = 0; i < known; ++i) {
    if (!is_removed(first_block + i)) continue;
    const auto block = page.subspan(i * kBlockBytes, kBlockBytes);
    std::fill(block.begin(), block.end(), std::byte{0});
  }
  const sys::FillResult result = sys::uffd_copy(userfaultfd_.get(), address, page);
  counters_.data_bytes += result.bytes_done;
  return result;
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
    ++counters_.read_retries;
  }
}

void Session::fail_closed(const std::string& cause, std::uint64_t host_address,
                          std::uint64_t length) {
  if (state_ != SessionState::kServing) return;
  state_ = SessionState::kKilled;
  failure_ = cause;
  // Killed first: a poisoned page would only be its second line.
  const Status killed = sys::kill_process(pidfd_.get());
  if (!killed) failure_ += "; " + killed.error().message;
  if (length > 0) {
    const std::uint64_t pages = (length + kBlockBytes - 1) / kBlockBytes * kBlockBytes;
    static_cast<void>(sys::uffd_poison(userfaultfd_.get(), host_address, pages));
  }
}

bool Session::populate(std::uint32_t max_blocks) {
  const auto regions = regions_.regions();
  std::uint32_t left = max_blocks;
  while (left > 0 && state_ == SessionState::kServing) {
    if (populate_region_ == regions.size()) return false;
    const Region& region = regions[populate_region_];
    const std::uint64_t first = region.memory_offset / kBlockBytes;
    const std::uint64_t end = std::min<std::uint64_t>(first + region.size_bytes / kBlockBytes,
                                                      chain_.mapping().block_count());
    const auto block = static_cast<std::uint32_t>(first + populate_block_);
    if (block >= end) {
      ++populate_region_;
      populate_block_ = 0;
      continue;
    }
    const bool huge = region.page_bytes == kHugePageBytes;
    const std::uint32_t page_blocks = huge ? kHugePageBlocks : 1;
    // A removed block is zeros when it is touched; filling it would undo the balloon's work.
    if (!huge && is_removed(block)) {
      ++populate_block_;
      --left;
      continue;
    }
    const FaultLimits limits{std::min(left, limits_.zero_blocks), limits_.zero_blocks};
    const Run run = huge ? Run{block, kHugePageBlocks, false} : run_at(region, block, limits);
    const sys::FillResult result = huge ? fill_huge_page(region, block) : fill(region, run);
    if (state_ != SessionState::kServing) return false;
    switch (result.outcome) {
      case sys::FillOutcome::kUnreadEvent:
        return true;  // the next step reads it
      case sys::FillOutcome::kProcessGone:
        state_ = SessionState::kEnded;
        return false;
      case sys::FillOutcome::kFailed:
        fail_closed(system_error("populate", "guest memory", result.error_number).message, 0, 0);
        return false;
      case sys::FillOutcome::kPresent:
        // Stopped part of the way: at a page that is there, or at an unread event. The next fill
        // tells.
        populate_block_ += result.bytes_done > 0
                               ? static_cast<std::uint32_t>(result.bytes_done / kBlockBytes)
                               : page_blocks;
        break;
      case sys::FillOutcome::kUnmapped:
        populate_block_ += page_blocks;
        break;
      case sys::FillOutcome::kDone:
        populate_block_ += run.count;
        break;
    }
    left -= std::min(left, std::max<std::uint32_t>(run.count, 1));
  }
  return state_ == SessionState::kServing;
}

std::uint64_t Session::address_of(const Region& region, std::uint32_t block) const {
  return region.host_address + (block * kBlockBytes - region.memory_offset);
}

}  // namespace lamina::pager
