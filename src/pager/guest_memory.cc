#include "pager/guest_memory.h"

#include <algorithm>
#include <exception>

#include "base/error.h"
#include "os/fd.h"
#include "pager/fault_around.h"

namespace lamina::pager {
namespace {

constexpr int kReadAttempts = 3;

/// Batches of faults that are read at once before a fill: 1,024 faults. More only take longer.
constexpr int kMaxRereadBatches = 64;

/// The bits of one kind; `filled` contains those of both kinds.
std::span<std::uint64_t> words_of(const os::AnonymousMapping& filled, std::size_t kind,
                                  std::uint32_t block_count) {
  const std::size_t words = FaultAround::words_for(block_count);
  return std::span(reinterpret_cast<std::uint64_t*>(filled.bytes().data()) + kind * words, words);
}

}  // namespace

GuestMemory::GuestMemory(const engine::Chain& chain, VmState& vm, VmSyscalls& syscalls,
                         RegionTable regions, std::span<std::byte> buffer,
                         os::AnonymousMapping filled)
    : chain_(chain),
      vm_(vm),
      syscalls_(syscalls),
      counters_(vm.counters()),
      regions_(std::move(regions)),
      slots_(vm.slots()),
      reread_slots_(vm.reread_slots()),
      removed_(vm.removed_bits()),
      buffer_(buffer),
      filled_(std::move(filled)),
      filled_data_(words_of(filled_, 0, chain.mapping().block_count())),
      filled_zeros_(words_of(filled_, 1, chain.mapping().block_count())) {}

Result<std::unique_ptr<GuestMemory>> GuestMemory::create(const engine::Chain& chain, VmState& vm,
                                                         VmSyscalls& syscalls,
                                                         std::span<std::byte> buffer) {
  const VmRecord& record = vm.record();
  const std::uint32_t blocks = chain.mapping().block_count();
  if (blocks != blocks_for(record.memory_bytes)) {
    return fail(ErrorKind::kFailed, "VM {} has {} bytes of memory, the snapshot {} blocks",
                record.pid, record.memory_bytes, blocks);
  }
  LAMINA_ASSIGN_OR_RETURN(RegionTable regions,
                          RegionTable::create(record.regions, record.memory_bytes));
  const std::size_t filled_bytes = 2 * FaultAround::words_for(blocks) * sizeof(std::uint64_t);
  LAMINA_ASSIGN_OR_RETURN(
      os::AnonymousMapping filled,
      os::AnonymousMapping::map(filled_bytes, "fill state of a VM", os::MappedPages::kSmall));
  return std::unique_ptr<GuestMemory>(
      new GuestMemory(chain, vm, syscalls, std::move(regions), buffer, std::move(filled)));
}

void GuestMemory::finish_predecessor_events() {
  for (const std::span<uffd_msg> slots : {slots_, reread_slots_}) {
    apply_removes(slots);
    // Faults that were read but not served recur when their threads are woken.
    for (uffd_msg& slot : slots) clear_slot(slot);
  }
  wake_all();
}

void GuestMemory::end() {
  if (is_serving()) state_ = SessionState::kEnded;
}

void GuestMemory::set_detached() {
  if (is_serving()) state_ = SessionState::kDetached;
}

void GuestMemory::fail_closed(const std::string& cause, std::uint64_t host_address,
                              std::uint64_t length) {
  if (!is_serving()) return;
  state_ = SessionState::kKilled;
  // Kill first: poisoning the page is only the second line of defence.
  const Status killed = syscalls_.kill();
  if (length > 0) {
    const std::uint64_t pages = (length + kBlockBytes - 1) / kBlockBytes * kBlockBytes;
    static_cast<void>(syscalls_.poison(host_address, pages));
  }
  failure_ = cause;
  if (!killed) failure_ += "; " + killed.error().message;
}

void GuestMemory::give_up(const char* cause) noexcept {
  if (!is_serving()) return;
  state_ = SessionState::kKilled;
  try {
    static_cast<void>(syscalls_.kill());
    failure_ = cause;
  } catch (const std::exception&) {
    // The caller kills the VM again when it learns that the session has ended.
    failure_.clear();
  }
}

std::uint32_t GuestMemory::alike(std::uint32_t block, std::uint32_t limit) const {
  const bool removed = is_removed(block);
  std::uint32_t count = 1;
  while (count < limit && is_removed(block + count) == removed) ++count;
  return count;
}

bool GuestMemory::is_removed_page(std::uint32_t first_block) const {
  return is_removed(first_block) && alike(first_block, kHugePageBlocks) == kHugePageBlocks;
}

Piece GuestMemory::run_at(const Region& region, std::uint32_t block, std::uint32_t most_data,
                          std::uint32_t most_zeros) const {
  if (region.page_bytes == kHugePageBytes) {
    const std::uint64_t in_region = block - region.memory_offset / kBlockBytes;
    return {{block - static_cast<std::uint32_t>(in_region % kHugePageBlocks), kHugePageBlocks}};
  }
  const std::uint32_t region_end = static_cast<std::uint32_t>(std::min<std::uint64_t>(
      (region.memory_offset + region.size_bytes) / kBlockBytes, mapping().block_count()));
  Piece run{{block, 0}, is_removed(block)};
  if (run.zero) {
    const std::uint32_t end = block + std::min(most_zeros, region_end - block);
    while (block + run.count < end && is_removed(block + run.count)) ++run.count;
    return run;
  }
  mapping::Extent extent = mapping().resolve(block);
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
      extent = mapping().resolve(block + run.count);
      if (extent.layer == mapping::kZeros) break;
    }
    ++run.count;
  }
  return run;
}

std::span<uffd_msg> GuestMemory::read_events_into(std::span<uffd_msg> slots) {
  const auto count = syscalls_.read_events(slots);
  if (count) return slots.first(*count);
  if (count.error().kind == ErrorKind::kNotFound) {
    end();  // the address space no longer exists
  } else {
    fail_closed(count.error().message, 0, 0);
  }
  return {};
}

void GuestMemory::apply_removes(std::span<uffd_msg> events) {
  for (uffd_msg& slot : events) {
    if (slot.event != UFFD_EVENT_REMOVE) continue;
    counters_.removes.add(1);
    mark_removed(slot.arg.remove.start, slot.arg.remove.end);
    clear_slot(slot);
  }
}

void GuestMemory::refuse_forks(std::span<const uffd_msg> events) {
  for (const uffd_msg& slot : events) {
    if (slot.event != UFFD_EVENT_FORK) continue;
    const os::Fd of_child(static_cast<int>(slot.arg.fork.ufd));
    fail_closed("the process has forked, and the memory of its child is not served", 0, 0);
  }
}

void GuestMemory::mark_removed(std::uint64_t start, std::uint64_t end) {
  for (const Region& region : regions_.regions()) {
    const std::uint64_t from = std::max(start, region.host_address);
    const std::uint64_t to = std::min(end, region.host_end());
    if (from >= to) continue;
    const std::uint64_t first = (region.memory_offset + (from - region.host_address)) / kBlockBytes;
    const std::uint64_t last = std::min<std::uint64_t>(
        blocks_for(region.memory_offset + (to - region.host_address)), mapping().block_count());
    if (first >= last) continue;
    write_bits(removed_, first, last, true);
    clear_bits(filled_data_, first, last);
    clear_bits(filled_zeros_, first, last);
  }
}

bool GuestMemory::reread_events() {
  counters_.reread_events.add(1);
  bool has_read = false;
  bool wakes_all = false;
  // The kernel returns faults before other events. If more are pending than there are slots,
  // threads that are woken now may fault again before the REMOVE behind them is read. A full batch
  // that ends with another event shows that no fault is pending: reading on would let a VM that
  // keeps sending REMOVEs hold its thread.
  for (int batch = 0; batch < kMaxRereadBatches; ++batch) {
    const auto events = read_events_into(reread_slots_);
    const bool has_more_faults =
        events.size() == reread_slots_.size() && events.back().event == UFFD_EVENT_PAGEFAULT;
    has_read |= !events.empty();
    apply_removes(events);
    refuse_forks(events);
    for (uffd_msg& slot : events) {
      if (slot.event == UFFD_EVENT_PAGEFAULT) {
        wakes_all |= has_more_faults;
        if (!has_more_faults) wake_page(slot.arg.pagefault.address);
      }
      clear_slot(slot);
    }
    if (!has_more_faults) break;
  }
  if (wakes_all) wake_all();
  return has_read;
}

void GuestMemory::wake_page(std::uint64_t address) {
  const Region* region = regions_.find(address);
  const std::uint64_t page_bytes = region != nullptr ? region->page_bytes : kBlockBytes;
  wake(address & ~(page_bytes - 1), page_bytes);
}

os::FillResult GuestMemory::fill(const Region& region, const Piece& run) {
  if (region.page_bytes == kHugePageBytes) return fill_huge_page(region, run.first);
  if (run.zero) return zero(address_of(region, run.first), run.count * kBlockBytes);
  const auto data = read(region, run);
  if (data.empty()) return {};
  return copy(address_of(region, run.first), data);
}

os::FillResult GuestMemory::zero(std::uint64_t address, std::uint64_t length) {
  const os::FillResult result = syscalls_.zero(address, length);
  counters_.zero_bytes.add(result.bytes_done);
  return result;
}

os::FillResult GuestMemory::copy(std::uint64_t address, std::span<const std::byte> data) {
  const os::FillResult result = syscalls_.copy(address, data);
  counters_.data_bytes.add(result.bytes_done);
  return result;
}

os::FillResult GuestMemory::fill_huge_page(const Region& region, std::uint32_t first_block) {
  const auto page = buffer_.first(kHugePageBytes);
  const std::uint32_t known = std::min(kHugePageBlocks, mapping().block_count() - first_block);
  if (!read_blocks(first_block, page.first(known * kBlockBytes), address_of(region, first_block))) {
    return {};
  }
  std::fill(page.begin() + known * static_cast<std::ptrdiff_t>(kBlockBytes), page.end(),
            std::byte{0});
  return copy_huge_page(region, first_block, page);
}

os::FillResult GuestMemory::copy_huge_page(const Region& region, std::uint32_t first_block,
                                           std::span<std::byte> page) {
  const std::uint32_t known = std::min(kHugePageBlocks, mapping().block_count() - first_block);
  for (std::uint32_t i = 0; i < known; ++i) {
    if (!is_removed(first_block + i)) continue;
    const auto block = page.subspan(i * kBlockBytes, kBlockBytes);
    std::fill(block.begin(), block.end(), std::byte{0});
  }
  const std::uint64_t address = address_of(region, first_block);
  return distinguish_empty_pool(copy(address, page), address);
}

os::FillResult GuestMemory::distinguish_empty_pool(const os::FillResult& result,
                                                   std::uint64_t address) const {
  if (result.outcome != os::FillOutcome::kPresent) return result;
  // In this order: the pid may be reused once the process has ended.
  const bool is_there = syscalls_.has_page(address);
  os::FillResult corrected = result;
  if (syscalls_.has_ended()) {
    corrected.outcome = os::FillOutcome::kProcessGone;
  } else if (!is_there) {
    // (Also if it is unknown, for example for lack of a descriptor: the fill is retried.)
    corrected.outcome = os::FillOutcome::kNoMemory;
  }
  return corrected;
}

os::FillResult GuestMemory::fill_zeros_at(const Region& region) {
  const auto zeros = buffer_.first(region.page_bytes);
  std::fill(zeros.begin(), zeros.end(), std::byte{0});
  return syscalls_.copy(region.host_address, zeros);
}

std::span<const std::byte> GuestMemory::read(const Region& region, const BlockRun& run) {
  const auto data = buffer_.first(run.count * kBlockBytes);
  if (!read_blocks(run.first, data, address_of(region, run.first))) return {};
  return data;
}

bool GuestMemory::read_blocks(std::uint32_t block, std::span<std::byte> buffer,
                              std::uint64_t host_address) {
  for (int attempt = 1;; ++attempt) {
    const Status read = chain_.read(block, buffer, engine::Chain::Check::kChecksums);
    if (read) return true;
    if (attempt == kReadAttempts) {
      // A power failure may have taken what had arrived.
      unread_ = arriving_ != nullptr && !arriving_->is_whole() &&
                read.error().kind == ErrorKind::kCorrupt;
      if (unread_) return false;
      fail_closed(read.error().message, host_address, buffer.size());
      return false;
    }
    counters_.read_retries.add(1);
  }
}

void GuestMemory::wake(std::uint64_t host_address, std::uint64_t length) {
  const Status woken = syscalls_.wake(host_address, length);
  // An unmapped range has no waiters.
  if (!woken && woken.error().kind != ErrorKind::kNotFound) {
    fail_closed(woken.error().message, host_address, 0);
  }
}

void GuestMemory::wake_all() {
  for (const Region& region : regions_.regions()) wake(region.host_address, region.size_bytes);
}

}  // namespace lamina::pager
