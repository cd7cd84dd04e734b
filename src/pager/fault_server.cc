#include "pager/fault_server.h"

#include <algorithm>
#include <array>
#include <bit>

#include "base/block.h"
#include "base/error.h"

namespace lamina::pager {
namespace {

/// After this many unread events a fill is given up: the faulting thread is woken and faults again,
/// so that other VMs get their turn.
constexpr int kMaxRereads = 4;

constexpr std::uint64_t kNanosecondsPerSecond = 1'000'000'000;

/// A block that has arrived so often and still does not match its checksum is not fetched again.
constexpr std::uint32_t kMaxDamaged = 4;

const char* remedy(std::uint64_t page_bytes) {
  return page_bytes == kHugePageBytes
             ? "the pool of huge pages is empty, or the VM's control group has reached its limit: "
               "raise vm.nr_hugepages or hugetlb.2MB.max"
             : "the VM's control group has reached its limit, or the host has no memory left";
}

}  // namespace

FaultServer::FaultServer(GuestMemory& memory, Shortage& shortage, const FaultLimits& limits,
                         std::uint64_t record_until_ns)
    : memory_(memory),
      vm_(memory.vm()),
      counters_(memory.vm().counters()),
      syscalls_(memory.syscalls()),
      shortage_(shortage),
      record_until_ns_(record_until_ns),
      arriving_(memory.arriving()),
      waits_(memory.vm().network_waits()),
      faults_only_(memory.vm().record().record_faults_only),
      data_around_(memory.mapping().block_count(), {limits.data_blocks, kFaultsOfDataWindow},
                   memory.filled_bits(false)),
      zeros_around_(memory.mapping().block_count(), {limits.zero_blocks, kFaultsOfZeroWindow},
                    memory.filled_bits(true)) {
  // Those of a predecessor are woken, and fault again.
  waits_.waiting.set(0);
  if (arriving_ != nullptr) parked_.reserve();
}

std::size_t FaultServer::handle_events() {
  if (!memory_.is_serving()) return 0;
  const auto events = memory_.read_events();
  const std::uint64_t started_ns = syscalls_.monotonic_ns();
  if (record_until_ns_ != 0 && started_ns >= record_until_ns_) end_recording();
  memory_.apply_removes(events);
  memory_.refuse_forks(events);
  std::array<Around, VmState::kSlots> due{};
  std::size_t due_count = 0;
  std::size_t faults = 0;
  for (uffd_msg& slot : events) {
    if (slot.event == UFFD_EVENT_PAGEFAULT && memory_.is_serving()) {
      const Around around = serve_fault(slot.arg.pagefault.address);
      if (around.windows != nullptr) due[due_count++] = around;
      ++faults;
      if (!was_parked_) count_latency(started_ns);
    }
    clear_slot(slot);
  }
  for (std::size_t i = 0; i < due_count; ++i) add_due(due[i]);
  fill_due((faults + kFaultsPerPart - 1) / kFaultsPerPart);
  return events.size();
}

void FaultServer::add_due(const Around& around) {
  if (due_.holds(around)) return;
  if (due_.full()) {
    fill_around(due_.oldest(), kPortionBlocks);
    due_.drop_oldest();
  }
  due_.add(around);
}

void FaultServer::fill_due(std::size_t parts) {
  for (; parts > 0 && !due_.empty(); --parts) {
    const Around around = due_.oldest();
    const bool zeros = around.windows == &zeros_around_;
    if (!fill_around(around, zeros ? kZeroPartBlocks : kDataPartBlocks)) due_.drop_oldest();
  }
}

Around FaultServer::serve_fault(std::uint64_t address, const ParkedFault* parked) {
  was_parked_ = false;
  const Region* region = memory_.regions().find(address);
  if (region == nullptr) {
    memory_.fail_closed(fmt::format("fault at {:#x}, outside every region", address), 0, 0);
    return {};
  }
  const std::uint64_t page =
      (address - region->host_address) / region->page_bytes * region->page_bytes;
  const auto block = static_cast<std::uint32_t>((region->memory_offset + page) / kBlockBytes);
  if (parked == nullptr && records_touches()) record(block);
  if (shortage_.is_active() && shortage_.page_bytes() == region->page_bytes) {
    // Not served now: all waiting threads are woken when a page is available again.
    shortage_.add_waiter(syscalls_.monotonic_ns());
    return {};
  }
  for (int round = 0; round < kMaxRereads && memory_.is_serving(); ++round) {
    const Piece run = memory_.run_at(*region, block, 1, 1);
    if (arriving_ != nullptr && !run.zero && !arriving_->are_here(run)) {
      park(region->host_address + page, run, false, parked);
      return {};
    }
    const os::FillResult result = memory_.fill(*region, run);
    if (!memory_.is_serving()) return {};
    if (arriving_ != nullptr && memory_.take_unread()) {
      park(region->host_address + page, run, true, parked);
      return {};
    }
    if (result.outcome == os::FillOutcome::kDone) {
      (run.zero ? counters_.zero_faults : counters_.data_faults).add(1);
      return note_fault(run);
    }
    const Next next = after_refused_fill(result, *region, page);
    if (next == Next::kNothing) return {};
    if (next == Next::kWake) break;
  }
  memory_.wake(region->host_address + page, region->page_bytes);
  return {};
}

FaultServer::Next FaultServer::after_refused_fill(const os::FillResult& result,
                                                  const Region& region, std::uint64_t page) {
  const std::uint64_t address = region.host_address + page;
  switch (result.outcome) {
    case os::FillOutcome::kUnreadEvent:
      // A REMOVE may have changed this page. If no event can be read yet, its thread has yet to
      // run: wake the fault, so that it recurs.
      return memory_.reread_events() ? Next::kAgain : Next::kWake;
    case os::FillOutcome::kPresent:
      counters_.present_faults.add(1);
      return Next::kWake;
    case os::FillOutcome::kUnmapped:
      return Next::kWake;
    case os::FillOutcome::kProcessGone:
      memory_.end();
      return Next::kNothing;
    case os::FillOutcome::kNoMemory:
      shortage_.begin(address, region.page_bytes, true, syscalls_.monotonic_ns());
      return Next::kNothing;
    case os::FillOutcome::kFailed:
      fail_to_fill(region, address, result.error_number);
      return Next::kNothing;
    case os::FillOutcome::kDone:
      return Next::kNothing;
  }
  return Next::kNothing;
}

void FaultServer::fail_to_fill(const Region& region, std::uint64_t address, int error_number) {
  memory_.fail_closed(system_error("fill", fmt::format("{:#x}", address), error_number).message,
                      address, region.page_bytes);
}

Around FaultServer::note_fault(const Piece& run) {
  if (faults_only_ && record_until_ns_ != 0 && !run.zero) record(run.first);
  // A huge page is filled as a whole. While touches are recorded, each block must fault itself.
  if (run.count > 1 || (!run.zero && records_touches())) return {};
  FaultAround& windows = run.zero ? zeros_around_ : data_around_;
  return windows.add_fault(run.first) ? Around{&windows, run.first} : Around{};
}

void FaultServer::fill_deferred() {
  if (!memory_.is_serving()) return;
  if (!due_.empty()) return fill_due(1);
  const bool zeros = !data_around_.has_deferred();
  FaultAround& windows = zeros ? zeros_around_ : data_around_;
  if (!windows.has_deferred()) return;
  const Around around{&windows, windows.oldest_deferred()};
  const bool more = fill_around(around, zeros ? kZeroPartBlocks : kDataPartBlocks);
  if (!more) windows.drop_oldest_deferred();
}

bool FaultServer::fill_around(const Around& around, std::uint32_t limit) {
  if (!memory_.is_serving()) return false;
  const FaultAround& windows = *around.windows;
  const bool zeros = &windows == &zeros_around_;
  const Region& region = *memory_.regions().find_block(around.block);
  // Determined again: a REMOVE may have been read since.
  const BlockRun piece = piece_around(region, around);
  const BlockRun part = windows.next_part(piece, around.block, limit);
  if (part.count == 0) return false;
  std::span<const std::byte> data;
  if (!zeros) {
    // What has not arrived is not waited for.
    if (arriving_ != nullptr && !arriving_->are_here(part)) return false;
    data = memory_.read(region, part);
    if (data.empty()) {
      static_cast<void>(memory_.take_unread());
      return false;
    }
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
    const std::uint32_t settled = fill_missing(region, {{block, missing}, zeros}, bytes);
    if (settled == 0) return false;
    block += settled;
  }
  return windows.next_part(piece, around.block, limit).count > 0;
}

std::uint32_t FaultServer::fill_missing(const Region& region, const Piece& run,
                                        std::span<const std::byte> data) {
  const std::uint64_t address = memory_.address_of(region, run.first);
  const os::FillResult result =
      run.zero ? memory_.zero(address, run.count * kBlockBytes) : memory_.copy(address, data);
  const auto done = static_cast<std::uint32_t>(result.bytes_done / kBlockBytes);
  memory_.mark_filled(run, done);
  switch (result.outcome) {
    case os::FillOutcome::kDone:
      return done;
    case os::FillOutcome::kPresent:
      // If some blocks were filled, the next call shows why it stopped.
      if (done > 0) return done;
      memory_.mark_filled(run, 1);
      return 1;
    case os::FillOutcome::kProcessGone:
      memory_.end();
      return 0;
    case os::FillOutcome::kFailed:
      memory_.fail_closed(system_error("fill", "guest memory", result.error_number).message, 0, 0);
      return 0;
    case os::FillOutcome::kUnreadEvent:
    case os::FillOutcome::kUnmapped:
    case os::FillOutcome::kNoMemory:  // handled when one of the blocks faults
      return 0;
  }
  return 0;
}

BlockRun FaultServer::piece_around(const Region& region, const Around& around) const {
  const mapping::Mapping& mapping = memory_.mapping();
  const bool zeros = around.windows == &zeros_around_;
  std::size_t index = mapping.find(around.block);
  mapping::Extent extent = mapping.extent(index);
  const auto is_of_kind = [&](std::uint32_t block) {
    while (block < extent.guest_block) extent = mapping.extent(--index);
    while (block >= extent.guest_end()) extent = mapping.extent(++index);
    return (extent.layer == mapping::kZeros || memory_.is_removed(block)) == zeros;
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

void FaultServer::park(std::uint64_t page_address, const BlockRun& run, bool is_damaged,
                       const ParkedFault* parked) {
  ParkedFault fault;
  if (parked != nullptr) {
    fault = *parked;
  } else {
    fault.since_ns = syscalls_.monotonic_ns();
  }
  fault.page_address = page_address;
  fault.blocks = run;
  if (is_damaged) fault.answers = arriving_->answers();
  if (is_damaged && ++fault.damaged == kMaxDamaged) {
    memory_.fail_closed(
        fmt::format(
            "the blocks at {:#x} of the guest were fetched {} times, and do not match their "
            "checksums in the store",
            run.first * kBlockBytes, kMaxDamaged),
        page_address, run.count * kBlockBytes);
    return;
  }
  was_parked_ = true;
  parked_.add(fault);
  waits_.waiting.set(parked_.faults().size());
  arriving_->ask(run, is_damaged);
}

bool FaultServer::is_still_damaged(const ParkedFault& fault) const {
  return fault.damaged > 0 && fault.answers == arriving_->answers() && !arriving_->is_whole();
}

bool FaultServer::may_wait(const ParkedFault& fault, std::uint64_t now_ns) {
  const std::uint64_t limit_ns = arriving_->wait_limit_ns();
  const std::uint64_t where = fault.blocks.first * kBlockBytes;
  if (arriving_->is_lost()) {
    memory_.fail_closed(
        fmt::format("the block at {:#x} of the guest has not arrived, and the bucket does not have "
                    "it any more",
                    where),
        fault.page_address, kBlockBytes);
  } else if (limit_ns != 0 && now_ns - fault.since_ns >= limit_ns) {
    memory_.fail_closed(fmt::format("the block at {:#x} of the guest has not arrived within {} s",
                                    where, limit_ns / kNanosecondsPerSecond),
                        fault.page_address, kBlockBytes);
  }
  return memory_.is_serving();
}

void FaultServer::serve_arrived() {
  if (arriving_ == nullptr || !memory_.is_serving()) return;
  if (parked_.take_surplus()) memory_.wake_all();
  const std::uint64_t now_ns = syscalls_.monotonic_ns();
  for (const ParkedFault& fault : parked_.take_all()) {
    if (!memory_.is_serving()) return;
    // Determined again: a REMOVE may have been read since.
    const Region& region = *memory_.regions().find(fault.page_address);
    const Piece run = memory_.run_at(region, fault.blocks.first, 1, 1);
    const bool is_here = run.zero || (arriving_->are_here(run) && !is_still_damaged(fault));
    if (is_here) {
      const Around around = serve_fault(fault.page_address, &fault);
      if (!was_parked_ && memory_.is_serving()) count_wait(fault);
      if (around.windows != nullptr) add_due(around);
    } else if (may_wait(fault, now_ns)) {
      parked_.add(fault);
    }
  }
  waits_.waiting.set(parked_.faults().size());
}

void FaultServer::retry_arriving() {
  const auto due_ns = next_arriving_retry_ns();
  if (!due_ns) return;
  const std::uint64_t now_ns = syscalls_.monotonic_ns();
  if (now_ns < *due_ns) return;
  const bool asks_again = arriving_->tick(now_ns);
  serve_arrived();
  if (!asks_again || !memory_.is_serving()) return;
  for (const ParkedFault& fault : parked_.faults()) {
    // The request that said so may be lost.
    arriving_->ask(fault.blocks, is_still_damaged(fault) && arriving_->are_here(fault.blocks));
  }
}

std::optional<std::uint64_t> FaultServer::next_arriving_retry_ns() const {
  if (arriving_ == nullptr || !memory_.is_serving()) return std::nullopt;
  std::optional<std::uint64_t> due_ns = arriving_->next_tick_ns();
  const std::uint64_t limit_ns = arriving_->wait_limit_ns();
  if (limit_ns == 0) return due_ns;
  for (const ParkedFault& fault : parked_.faults()) {
    const std::uint64_t end_ns = fault.since_ns + limit_ns;
    due_ns = due_ns ? std::min(*due_ns, end_ns) : end_ns;
  }
  return due_ns;
}

std::optional<std::uint64_t> FaultServer::next_retry_ns() const {
  const auto shortage_ns = next_shortage_retry_ns();
  if (arriving_ == nullptr) return shortage_ns;
  const auto arriving_ns = next_arriving_retry_ns();
  if (!shortage_ns || !arriving_ns) return shortage_ns ? shortage_ns : arriving_ns;
  return std::min(*shortage_ns, *arriving_ns);
}

void FaultServer::retry() {
  retry_shortage();
  if (arriving_ != nullptr) retry_arriving();
}

std::optional<std::uint64_t> FaultServer::next_shortage_retry_ns() const {
  if (!shortage_.is_active() || !memory_.is_serving()) return std::nullopt;
  return shortage_.next_try_ns();
}

void FaultServer::retry_shortage() {
  const auto due_ns = next_shortage_retry_ns();
  if (!due_ns) return;
  const std::uint64_t now_ns = syscalls_.monotonic_ns();
  if (now_ns < *due_ns) return;
  const std::uint64_t address = shortage_.address();
  const Region& region = *memory_.regions().find(address);
  const auto block = static_cast<std::uint32_t>(
      (region.memory_offset + (address - region.host_address)) / kBlockBytes);
  const os::FillResult result = fill_after_events(region, block);
  if (!memory_.is_serving()) return;
  switch (result.outcome) {
    case os::FillOutcome::kNoMemory:
    case os::FillOutcome::kUnreadEvent:
      if (shortage_.has_timed_out(now_ns)) {
        give_up_shortage(result.outcome);
      } else {
        shortage_.try_later(now_ns);
      }
      break;
    case os::FillOutcome::kProcessGone:
      memory_.end();
      break;
    case os::FillOutcome::kFailed:
      fail_to_fill(region, address, result.error_number);
      break;
    case os::FillOutcome::kDone:
    case os::FillOutcome::kPresent:
    case os::FillOutcome::kUnmapped:
      end_shortage();
      break;
  }
}

os::FillResult FaultServer::fill_after_events(const Region& region, std::uint32_t block) {
  os::FillResult result;
  for (int round = 0; round < kMaxRereads; ++round) {
    // Determined again: a REMOVE may have been read since.
    result = memory_.fill(region, memory_.run_at(region, block, 1, 1));
    if (!memory_.is_serving() || result.outcome != os::FillOutcome::kUnreadEvent) break;
    // Other events in the batch are handled as usual.
    if (handle_events() == 0 || !memory_.is_serving()) break;
  }
  return result;
}

void FaultServer::end_shortage() {
  shortage_.end();
  memory_.wake_all();
}

void FaultServer::give_up_shortage(os::FillOutcome last_outcome) {
  const bool is_removing = last_outcome == os::FillOutcome::kUnreadEvent;
  memory_.fail_closed(fmt::format("the host had no page of {} KiB for {:#x} within {} s{}: {}",
                                  shortage_.page_bytes() / 1024, shortage_.address(),
                                  shortage_.limits().timeout_ns / kNanosecondsPerSecond,
                                  is_removing ? ", or the guest kept giving memory back" : "",
                                  remedy(shortage_.page_bytes())),
                      shortage_.address(), shortage_.page_bytes());
}

std::string FaultServer::take_note() {
  switch (shortage_.take_news()) {
    case Shortage::News::kBegun:
      return fmt::format(
          "the host has no page of {} KiB for process {} at {:#x}: {}; retrying for {} s, then the "
          "VM is killed",
          shortage_.page_bytes() / 1024, vm_.record().pid, shortage_.address(),
          remedy(shortage_.page_bytes()), shortage_.limits().timeout_ns / kNanosecondsPerSecond);
    case Shortage::News::kEnded:
      return fmt::format("the page for process {} is available again", vm_.record().pid);
    case Shortage::News::kNone:
      return {};
  }
  return {};
}

void FaultServer::record(std::uint32_t block) {
  const std::uint64_t count = vm_.recorded_count().get();
  if (count >= (faults_only_ ? kMaxNotedFaults : kMaxRecordedBlocks)) return end_recording();
  vm_.recorded_blocks()[count] = block;
  order_for_successor();
  vm_.recorded_count().set(count + 1);
}

void FaultServer::count_latency(std::uint64_t started_ns) {
  constexpr std::uint64_t kNanosecondsPerMicrosecond = 1000;
  const std::uint64_t elapsed_ns = syscalls_.monotonic_ns() - started_ns;
  counters_.latency_sum_ns.add(elapsed_ns);
  const std::uint64_t microseconds = elapsed_ns / kNanosecondsPerMicrosecond;
  const std::size_t bucket =
      std::min<std::size_t>(std::bit_width(microseconds), kLatencyBuckets - 1);
  counters_.latency[bucket].add(1);
}

void FaultServer::count_wait(const ParkedFault& fault) {
  constexpr std::uint64_t kNanosecondsPerMillisecond = 1'000'000;
  const std::uint64_t waited_ns = syscalls_.monotonic_ns() - fault.since_ns;
  waits_.sum_ns.add(waited_ns);
  const std::size_t bucket = std::min<std::size_t>(
      std::bit_width(waited_ns / kNanosecondsPerMillisecond), kWaitBuckets - 1);
  waits_.buckets[bucket].add(1);
  count_latency(fault.since_ns);
}

}  // namespace lamina::pager
