// Serves the faults of one VM.
//
// Events are handled in the order in which they are read, the REMOVEs of a batch first. A fault
// costs a lookup, one read, its checksum, and one ioctl: first for the faulting page, then, when no
// fault is pending, for the pages around it (FaultAround). Windows that are due although faults are
// pending are filled in parts: after a batch of faults, one part for every two of its faults, and
// the rest when no fault is pending (DueWindows). The fault path does not allocate, lock or log.
//
// A fault whose page the kernel refuses to fill: if an event must be read first (EAGAIN), it is
// read and the fault is tried again; if the page is present or unmapped, the thread is woken; if
// the host has no page, see Shortage; any other error fails closed.
//
// A fault on a block that is still being fetched is parked (ParkedFaults): it is asked for, and the
// fault is served when it has arrived.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "base/run.h"
#include "os/userfaultfd.h"
#include "pager/due_windows.h"
#include "pager/fault_around.h"
#include "pager/guest_memory.h"
#include "pager/parked_faults.h"
#include "pager/portion.h"
#include "pager/regions.h"
#include "pager/shortage.h"
#include "pager/vm_state.h"

namespace lamina::pager {

/// Window sizes around a fault (FaultAround); at least 1.
struct FaultLimits {
  std::uint32_t data_blocks = 16;   ///< 64 KiB
  std::uint32_t zero_blocks = 512;  ///< 2 MiB
};

/// The cost of filling a window, in faults of about 7 us: from the page cache, 24 us for 16 blocks
/// of data, and 45 us for 512 zeros (docs/decisions/0011).
inline constexpr std::uint32_t kFaultsOfDataWindow = 3;
inline constexpr std::uint32_t kFaultsOfZeroWindow = 6;

/// Deferred blocks that are filled at most between two checks for events: about 10 us from the page
/// cache, so that a fault does not wait long.
inline constexpr std::uint32_t kDataPartBlocks = 8;
inline constexpr std::uint32_t kZeroPartBlocks = 64;

/// Of the windows that are due, one part is filled for so many faults of a batch. (A window is due
/// at its fourth fault and has two parts, so the filling keeps pace with the faults.)
inline constexpr std::size_t kFaultsPerPart = 2;

/// Used by the thread that uses its GuestMemory.
class FaultServer {
 public:
  /// Records faults until `record_until_ns` (os::monotonic_ns; 0: never), as the VM's record says:
  /// every touch, or only the faults. `memory` and `shortage` must outlive this object.
  FaultServer(GuestMemory& memory, Shortage& shortage, const FaultLimits& limits,
              std::uint64_t record_until_ns);
  FaultServer(const FaultServer&) = delete;
  FaultServer& operator=(const FaultServer&) = delete;
  FaultServer(FaultServer&&) = delete;
  FaultServer& operator=(FaultServer&&) = delete;
  ~FaultServer() = default;

  /// Handles pending events, at most VmState::kSlots. Returns their number. Never waits for an
  /// event.
  std::size_t handle_events();

  /// True if blocks around earlier faults remain to be filled.
  [[nodiscard]] bool has_deferred() const {
    return !due_.empty() || data_around_.has_deferred() || zeros_around_.has_deferred();
  }
  /// Fills some of the deferred blocks.
  void fill_deferred();

  /// When to call retry() (os::monotonic_ns); nullopt if there is no shortage and nothing arrives.
  [[nodiscard]] std::optional<std::uint64_t> next_retry_ns() const;
  /// During a shortage: tries to fill the page again if it is time. While blocks arrive: asks again
  /// for those that are needed.
  void retry();

  /// Serves the faults whose blocks have arrived.
  void serve_arrived();

  /// Returns and clears a message for the log; empty if there is none. Allocates.
  [[nodiscard]] std::string take_note();

 private:
  /// What to do about a fault whose page could not be filled: retry, wake the thread, or nothing.
  enum class Next : std::uint8_t { kAgain, kWake, kNothing };

  /// Fills the faulting page. Returns the fault if its window is due. `parked`: as what it has
  /// waited until now; null: it is new.
  Around serve_fault(std::uint64_t address, const ParkedFault* parked = nullptr);
  /// Asks for the blocks of `run`, which are not here or are `is_damaged`, and parks the fault.
  void park(std::uint64_t page_address, const BlockRun& run, bool is_damaged,
            const ParkedFault* parked);
  /// True if its blocks were damaged, and the fetcher has not looked at them since.
  [[nodiscard]] bool is_still_damaged(const ParkedFault& fault) const;
  /// False if it fails closed: the block cannot arrive any more, or has not within the limit.
  bool may_wait(const ParkedFault& fault, std::uint64_t now_ns);
  void retry_shortage();
  void retry_arriving();
  [[nodiscard]] std::optional<std::uint64_t> next_shortage_retry_ns() const;
  [[nodiscard]] std::optional<std::uint64_t> next_arriving_retry_ns() const;
  Next after_refused_fill(const os::FillResult& result, const Region& region, std::uint64_t page);
  /// Records a fault that was served with `run`. Returns it if its window is due.
  Around note_fault(const Piece& run);
  /// Adds a window that is due. If there is no room, fills the oldest one first.
  void add_due(const Around& around);
  /// Fills up to `parts` parts of the windows that are due.
  void fill_due(std::size_t parts);
  /// Fills missing blocks of the piece around a fault, at most `limit`. True if more remain. Blocks
  /// that the kernel refuses to fill are skipped; they are handled when they fault.
  bool fill_around(const Around& around, std::uint32_t limit);
  /// Fills `run`, whose blocks are all missing, from `data` unless it is zeros. Returns the number
  /// of blocks done, 0 to stop.
  std::uint32_t fill_missing(const Region& region, const Piece& run,
                             std::span<const std::byte> data);
  /// The consecutive blocks of one kind around a fault, within its window and region. Empty if the
  /// faulting block is no longer of that kind.
  [[nodiscard]] BlockRun piece_around(const Region& region, const Around& around) const;
  /// Fills the page of a block. Handles events that the kernel requires to be read first, in a few
  /// attempts: kUnreadEvent if there are more.
  os::FillResult fill_after_events(const Region& region, std::uint32_t block);
  void end_shortage();
  void give_up_shortage(os::FillOutcome last_outcome);
  void fail_to_fill(const Region& region, std::uint64_t address, int error_number);
  [[nodiscard]] bool records_touches() const { return record_until_ns_ != 0 && !faults_only_; }
  void record(std::uint32_t block);
  void end_recording() { record_until_ns_ = 0; }
  void count_latency(std::uint64_t started_ns);
  /// Counts a fault that was parked and has its page now.
  void count_wait(const ParkedFault& fault);

  GuestMemory& memory_;
  VmState& vm_;
  VmCounters& counters_;
  VmSyscalls& syscalls_;
  Shortage& shortage_;
  std::uint64_t record_until_ns_;
  ArrivingBlocks* const arriving_;  ///< null: all blocks are here
  NetworkWaits& waits_;
  ParkedFaults parked_;
  bool was_parked_ = false;  ///< the fault that serve_fault() was called for last
  bool faults_only_;
  FaultAround data_around_;
  FaultAround zeros_around_;
  DueWindows due_;
};

}  // namespace lamina::pager
