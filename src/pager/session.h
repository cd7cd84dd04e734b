// One VM whose memory is being served.
//
// One thread owns a session and does everything with its descriptor, in order: it reads events,
// applies REMOVEs before anything else of the batch, fills the pages that faults ask for, and
// between faults, in small portions, what it was asked to populate. So there is nothing to lock and
// no order to get wrong. The fault path allocates nothing, locks nothing and logs nothing.
//
// What a fault costs: one lookup, one read of the run around it into a buffer, its checksums, and
// one ioctl from that very buffer. Never from a mapping of the layer: that could change, or raise
// SIGBUS, between check and copy.
//
// REMOVE: a block that the guest gave back reads as zeros from then on, whatever the snapshot
// holds. A bit per block remembers it. Events may be read in another order than they happened: a
// fault may be read before a REMOVE that came first. Then the kernel refuses the fill (EAGAIN)
// until the REMOVE has been read; it is read and applied, and the fault is looked at anew.
//
// Failing closed: a block that cannot be read or is wrong, after retries, kills the VM through a
// pidfd taken at the handshake, and poisons the page where the kernel can. The guest never sees
// zeros in place of data, and never waits for ever.
#pragma once

#include <linux/userfaultfd.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/chain.h"
#include "lamina/result.h"
#include "pager/handshake.h"
#include "pager/regions.h"
#include "sys/fd.h"
#include "sys/locked_memory.h"
#include "sys/userfaultfd.h"

namespace lamina::pager {

/// What a session has done. Plain numbers of the owning thread.
struct SessionCounters {
  std::uint64_t faults = 0;           ///< page faults read
  std::uint64_t data_bytes = 0;       ///< filled from layers
  std::uint64_t zero_bytes = 0;       ///< filled with zeros
  std::uint64_t already_present = 0;  ///< faults whose page was there when they were served
  std::uint64_t removes = 0;          ///< REMOVE events
  std::uint64_t reread_events = 0;    ///< fills that had to read events first
  std::uint64_t read_retries = 0;
};

enum class SessionState : std::uint8_t {
  kServing,
  kEnded,   ///< the VM has exited
  kKilled,  ///< failed closed; failure() says why
};

/// How much one fault fills at most.
struct FaultLimits {
  std::uint32_t data_blocks = 16;   ///< 64 KiB
  std::uint32_t zero_blocks = 512;  ///< 2 MiB
};

class Session {
 public:
  /// Takes over a VM from its handshake: opens a pidfd of the peer and wakes all its regions once,
  /// so that whoever waited for a predecessor faults again. kFailed when the peer is gone or may
  /// not be killed (then failing closed would be impossible, and the VM is refused). `chain` and
  /// `socket` must outlive the session.
  static Result<std::unique_ptr<Session>> create(const engine::Chain& chain, Handshake handshake,
                                                 RegionTable regions, int socket,
                                                 const FaultLimits& limits = {});

  /// Waits up to `timeout_ms` (-1: for ever) for events or the peer's end and handles all that
  /// wait.
  SessionState step(int timeout_ms);

  /// Fills up to `max_blocks` of the memory's next missing blocks in guest order, without waiting.
  /// False when the end has been reached or the session does not serve any more.
  bool populate(std::uint32_t max_blocks);

  [[nodiscard]] SessionState state() const { return state_; }
  [[nodiscard]] const std::string& failure() const { return failure_; }
  [[nodiscard]] const SessionCounters& counters() const { return counters_; }
  [[nodiscard]] pid_t peer_pid() const { return peer_pid_; }

 private:
  /// A run of blocks to fill at once, all of one kind.
  struct Run {
    std::uint32_t block = 0;
    std::uint32_t count = 0;
    bool zero = false;
  };

  Session(const engine::Chain& chain, RegionTable regions, const FaultLimits& limits);

  void read_and_handle_events();
  std::size_t read_events(std::span<uffd_msg> slots);
  void apply_removes(std::span<const uffd_msg> events);
  void mark_removed(std::uint64_t start, std::uint64_t end);
  /// Reads what the kernel insists on before it fills: REMOVEs are applied, faults are woken, so
  /// that they come again.
  void reread_events();
  void serve_fault(std::uint64_t address);
  [[nodiscard]] Run run_at(const Region& region, std::uint32_t block,
                           const FaultLimits& limits) const;
  /// Fills `run` at its place in `region`; the result is in bytes from its start.
  sys::FillResult fill(const Region& region, const Run& run);
  sys::FillResult fill_huge_page(const Region& region, std::uint32_t first_block);
  /// Reads into the buffer, checked; retries, then fails closed. False when it did.
  bool read_blocks(std::uint32_t block, std::span<std::byte> buffer, std::uint64_t host_address);
  void fail_closed(const std::string& cause, std::uint64_t host_address, std::uint64_t length);
  [[nodiscard]] bool is_removed(std::uint32_t block) const {
    return ((removed_[block / 64] >> (block % 64)) & 1U) != 0;
  }
  [[nodiscard]] std::uint64_t address_of(const Region& region, std::uint32_t block) const;

  const engine::Chain& chain_;
  RegionTable regions_;
  FaultLimits limits_;
  sys::Fd userfaultfd_;
  sys::Fd pidfd_;
  int socket_ = -1;
  pid_t peer_pid_ = -1;
  SessionState state_ = SessionState::kServing;
  std::string failure_;
  SessionCounters counters_;
  sys::LockedMemory slots_memory_;  ///< events are copied out by the kernel: this must not fault
  std::span<uffd_msg> slots_;
  std::span<uffd_msg> reread_slots_;
  std::vector<std::uint64_t> removed_;  ///< a bit per block
  std::vector<std::byte> buffer_;
  std::size_t populate_region_ = 0;
  std::uint32_t populate_block_ = 0;  ///< of the region, from its start
};

}  // namespace lamina::pager
