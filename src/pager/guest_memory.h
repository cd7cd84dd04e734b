// The memory of one VM: where it is, what belongs there, and how it gets there.
//
// FaultServer decides which pages are filled when they fault, Populator which pages are filled
// without a fault. Both fill them here, and neither knows the other.
//
// A page is filled with one read into a buffer, the checksums, and one ioctl from the same buffer.
// It is never filled from a mapping of the layer, which could change or raise SIGBUS between check
// and copy.
//
// REMOVE: a block that the guest gave back reads as zeros from then on, whatever the snapshot
// contains. A bit per block records it. Events may be read in a different order than they occurred:
// a fault may be read before an earlier REMOVE. Then the kernel refuses the fill (EAGAIN) until the
// REMOVE has been read; reread_events() reads and applies it, and the fault is tried again.
//
// State that only this process has is kept in a VmState, so that a successor can continue from any
// instruction: it applies the REMOVEs in the event slots and wakes all waiting threads.
//
// Failing closed: if a block cannot be read or is corrupt, after retries, the VM is killed through
// the pidfd from the handshake, and the page is poisoned if the kernel can. The guest never sees
// zeros instead of data, and never waits forever.
#pragma once

#include <linux/userfaultfd.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "base/bitmap.h"
#include "base/block.h"
#include "base/run.h"
#include "engine/chain.h"
#include "lamina/result.h"
#include "os/anonymous_mapping.h"
#include "os/userfaultfd.h"
#include "pager/arriving_blocks.h"
#include "pager/portion.h"
#include "pager/regions.h"
#include "pager/vm_state.h"
#include "pager/vm_syscalls.h"

namespace lamina::pager {

enum class SessionState : std::uint8_t {
  kServing,
  kEnded,     ///< the VM has exited
  kKilled,    ///< failed closed; failure() says why
  kDetached,  ///< all of its memory is present; the VM no longer needs the server
};

/// Size of the buffer from which pages are filled.
inline constexpr std::size_t kFillBufferBytes = kHugePageBytes;
static_assert(kFillBufferBytes == kPortionBlocks * kBlockBytes);

/// Used by one thread. After create(), no function allocates, locks or logs unless a read fails or
/// the VM is killed.
class GuestMemory {
 public:
  /// kFailed if the VM's memory is not of the snapshot's size, kCorrupt if its regions are invalid.
  /// `buffer` has kFillBufferBytes and may be shared by the VMs of one thread. All arguments must
  /// outlive the result.
  static Result<std::unique_ptr<GuestMemory>> create(const engine::Chain& chain, VmState& vm,
                                                     VmSyscalls& syscalls,
                                                     std::span<std::byte> buffer);

  GuestMemory(const GuestMemory&) = delete;
  GuestMemory& operator=(const GuestMemory&) = delete;
  GuestMemory(GuestMemory&&) = delete;
  GuestMemory& operator=(GuestMemory&&) = delete;
  ~GuestMemory() = default;

  /// Continues after a predecessor was killed: applies the events that it had read but not handled,
  /// and wakes all regions, so that waiting threads fault again.
  void finish_predecessor_events();

  // The VM's end.

  [[nodiscard]] SessionState state() const { return state_; }
  [[nodiscard]] bool is_serving() const { return state_ == SessionState::kServing; }
  [[nodiscard]] const std::string& failure() const { return failure_; }
  [[nodiscard]] std::string take_failure() { return std::move(failure_); }
  /// To be called when the VM's process has exited.
  void end();
  /// To be called when the VM no longer needs the server.
  void set_detached();
  /// Kills the VM, and poisons [host_address, host_address + length) if that is not empty.
  void fail_closed(const std::string& cause, std::uint64_t host_address, std::uint64_t length);
  /// Kills the VM. For a process that is out of memory.
  void give_up(const char* cause) noexcept;

  // Where the memory is, and what belongs there.

  [[nodiscard]] const engine::Chain& chain() const { return chain_; }
  [[nodiscard]] const mapping::Mapping& mapping() const { return chain_.mapping(); }
  [[nodiscard]] VmState& vm() const { return vm_; }
  [[nodiscard]] VmSyscalls& syscalls() const { return syscalls_; }
  [[nodiscard]] const RegionTable& regions() const { return regions_; }
  [[nodiscard]] std::uint64_t address_of(const Region& region, std::uint32_t block) const {
    return region.host_address + (block * kBlockBytes - region.memory_offset);
  }
  /// Blocks that are still being fetched; null: all are here. Set once, before anything is filled,
  /// and must outlive this.
  void set_arriving(ArrivingBlocks* arriving) { arriving_ = arriving; }
  [[nodiscard]] ArrivingBlocks* arriving() const { return arriving_; }
  /// True if the last read failed because a block that has arrived does not match its checksum, and
  /// it can be fetched again: the session has not failed closed. Clears that.
  [[nodiscard]] bool take_unread() { return std::exchange(unread_, false); }
  /// True if the guest gave the block back.
  [[nodiscard]] bool is_removed(std::uint32_t block) const { return is_bit_set(removed_, block); }
  /// Number of consecutive blocks from `block` on, up to `limit`, that are all removed or all not.
  [[nodiscard]] std::uint32_t alike(std::uint32_t block, std::uint32_t limit) const;
  /// True if all blocks of the 2 MiB page were given back.
  [[nodiscard]] bool is_removed_page(std::uint32_t first_block) const;
  /// The run of one kind that begins at `block`, limited to `most_data` or `most_zeros` blocks.
  /// With huge pages, the whole page.
  [[nodiscard]] Piece run_at(const Region& region, std::uint32_t block, std::uint32_t most_data,
                             std::uint32_t most_zeros) const;

  // Events.

  /// Reads pending events into the slots, at most VmState::kSlots. Ends the session if that fails.
  std::span<uffd_msg> read_events() { return read_events_into(slots_); }
  /// Marks the blocks of REMOVE events and clears the slots of those events.
  void apply_removes(std::span<uffd_msg> events);
  /// Fails closed on a fork event, which a VMM does not request, and closes its descriptor.
  void refuse_forks(std::span<const uffd_msg> events);
  /// Reads events that the kernel requires to be read before a fill: the pending faults, and the
  /// other events in the last batch. Applies REMOVEs, and wakes faults so that they recur. False if
  /// there was no event.
  bool reread_events();

  // Filling. The counters of bytes are updated; which blocks are marked as filled is up to callers.

  /// Reads and fills a run, as returned by run_at(). kDone if it failed closed. With huge pages, an
  /// empty pool is reported as kNoMemory, and the exit of the process as kProcessGone.
  os::FillResult fill(const Region& region, const Piece& run);
  os::FillResult zero(std::uint64_t address, std::uint64_t length);
  /// Copies data that was read and verified.
  os::FillResult copy(std::uint64_t address, std::span<const std::byte> data);
  /// The same for a huge page. Blocks that were given back become zeros, also in `page`.
  os::FillResult copy_huge_page(const Region& region, std::uint32_t first_block,
                                std::span<std::byte> page);
  /// Copies zeros to the first page of a region. REQUIRES: only zeros are missing.
  os::FillResult fill_zeros_at(const Region& region);
  /// Reads and verifies blocks with retries, into the buffer, where they stay until the next read
  /// or fill. Empty if that is impossible: then it has failed closed. REQUIRES: `run` is in
  /// `region`, and not longer than the buffer.
  std::span<const std::byte> read(const Region& region, const BlockRun& run);
  /// Wakes waiting threads; fails closed if that is impossible.
  void wake(std::uint64_t host_address, std::uint64_t length);
  void wake_all();

  // Blocks that this process has filled, and the guest has not given back since: hints for
  // FaultAround, a bit per block.

  [[nodiscard]] std::span<std::uint64_t> filled_bits(bool zeros) const {
    return zeros ? filled_zeros_ : filled_data_;
  }
  /// Marks the first `count` blocks of `run`.
  void mark_filled(const Piece& run, std::uint32_t count) {
    write_bits(filled_bits(run.zero), run.first, run.first + count, true);
  }

 private:
  GuestMemory(const engine::Chain& chain, VmState& vm, VmSyscalls& syscalls, RegionTable regions,
              std::span<std::byte> buffer, os::AnonymousMapping filled);
  std::span<uffd_msg> read_events_into(std::span<uffd_msg> slots);
  void mark_removed(std::uint64_t start, std::uint64_t end);
  /// Wakes the threads that wait for the page of an address.
  void wake_page(std::uint64_t address);
  os::FillResult fill_huge_page(const Region& region, std::uint32_t first_block);
  /// Corrects the result of a fill if the pool of huge pages is empty, which the kernel reports as
  /// a present page.
  [[nodiscard]] os::FillResult distinguish_empty_pool(const os::FillResult& result,
                                                      std::uint64_t address) const;
  bool read_blocks(std::uint32_t block, std::span<std::byte> buffer, std::uint64_t host_address);

  const engine::Chain& chain_;
  ArrivingBlocks* arriving_ = nullptr;
  bool unread_ = false;
  VmState& vm_;
  VmSyscalls& syscalls_;
  VmCounters& counters_;
  RegionTable regions_;
  SessionState state_ = SessionState::kServing;
  std::string failure_;
  std::span<uffd_msg> slots_;
  std::span<uffd_msg> reread_slots_;
  std::span<std::uint64_t> removed_;  ///< a bit per block
  std::span<std::byte> buffer_;
  os::AnonymousMapping filled_;
  std::span<std::uint64_t> filled_data_;   ///< in filled_
  std::span<std::uint64_t> filled_zeros_;  ///< in filled_
};

}  // namespace lamina::pager
