// Serves the memory of one VM.
//
// One thread owns a session and does everything with its descriptor, in order: it reads events,
// applies the REMOVEs of a batch first, fills the pages that fault, and populates between faults,
// in small portions. So nothing needs locks. The fault path does not allocate, lock or log. Another
// thread (PlanReader) reads and verifies the data to populate; the session checks whether a block
// must still be filled when it copies it.
//
// A fault costs a lookup, one read into a buffer, its checksum, and one ioctl from the same buffer:
// first for the faulting page, then, when no fault is pending, for the pages around it
// (FaultAround). Pages are never filled from a mapping of the layer, which could change or raise
// SIGBUS between check and copy.
//
// REMOVE: a block that the guest gave back reads as zeros from then on, whatever the snapshot
// contains. A bit per block records it. Events may be read in a different order than they occurred:
// a fault may be read before an earlier REMOVE. Then the kernel refuses the fill (EAGAIN) until the
// REMOVE has been read; the session reads and applies it, and tries the fault again.
//
// State that only this process has is kept in a VmState, so that a successor can continue from any
// instruction: it applies the REMOVEs in the event slots and wakes all waiting threads.
//
// Failing closed: if a block cannot be read or is corrupt, after retries, the session kills the VM
// through the pidfd from the handshake and poisons the page if the kernel can. The guest never sees
// zeros instead of data, and never waits forever.
//
// A host that is out of memory does not cause an immediate kill: see Shortage.
#pragma once

#include <linux/userfaultfd.h>

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/bitmap.h"
#include "base/block.h"
#include "base/run.h"
#include "engine/chain.h"
#include "lamina/result.h"
#include "os/anonymous_mapping.h"
#include "os/userfaultfd.h"
#include "pager/fault_around.h"
#include "pager/plan_reader.h"
#include "pager/portion.h"
#include "pager/regions.h"
#include "pager/shortage.h"
#include "pager/vm_state.h"

namespace lamina::pager {

enum class SessionState : std::uint8_t {
  kServing,
  kEnded,     ///< the VM has exited
  kKilled,    ///< failed closed; failure() says why
  kDetached,  ///< all of its memory is present; the VM no longer needs the server
};

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

/// The blocks to fill without a fault.
struct PopulatePlan {
  std::vector<BlockRun> first;  ///< in this order; may overlap
  bool rest = false;            ///< then all of the memory, in guest order
  /// Skip pages of zeros, which the kernel fills once the VM is detached. So a large empty memory
  /// is populated quickly.
  bool to_detach = false;
};

struct SessionOptions {
  FaultLimits limits;
  /// Record the faulting blocks in order until this time (os::monotonic_ns), up to
  /// kMaxRecordedBlocks. Meanwhile data is filled block by block, so that every first touch faults.
  /// 0: do not record.
  std::uint64_t record_until_ns = 0;
  const PopulatePlan* plan = nullptr;  ///< may be null; must outlive the session
  /// The reader of the thread that owns the session; outlives the session. Null: the session reads
  /// the data to populate itself.
  PlanReader* reader = nullptr;
  ShortageLimits shortage;
};

/// Size of the buffer from which a session fills pages.
inline constexpr std::size_t kFillBufferBytes = kHugePageBytes;
static_assert(kFillBufferBytes == kPortionBlocks * kBlockBytes);

/// The descriptors of a VM. They must outlive its session.
struct VmDescriptors {
  int userfaultfd = -1;
  int pidfd = -1;
};

class Session {
 public:
  /// Starts serving a VM, or continues after a predecessor was killed: applies the events that it
  /// had read but not handled, and wakes all regions once, so that waiting threads fault again.
  /// kFailed if the process has ended or may not be killed (the session could not fail closed), or
  /// if it has huge pages and its page table may not be read (an empty pool would look like a
  /// present page). `chain`, `state` and `buffer` (kFillBufferBytes, shared by the sessions of one
  /// thread) must outlive the session. Only the calling thread may use them and the session.
  static Result<std::unique_ptr<Session>> create(const engine::Chain& chain, VmState& state,
                                                 const VmDescriptors& descriptors,
                                                 std::span<std::byte> buffer,
                                                 const SessionOptions& options = {});
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  Session(Session&&) = delete;
  Session& operator=(Session&&) = delete;
  /// Waits while a portion of this session is being read: see stop_populating().
  ~Session();

  /// Handles pending events, at most VmState::kSlots. Returns their number. Never waits for an
  /// event.
  std::size_t handle_events();

  /// True if blocks around earlier faults remain to be filled.
  [[nodiscard]] bool has_deferred() const {
    return data_around_.has_deferred() || zeros_around_.has_deferred();
  }

  /// Fills some of the deferred blocks. To be called while no VM of the thread has events.
  SessionState fill_deferred();

  /// To be called when the VM's process has exited.
  void end();

  /// Kills the VM because this process cannot serve it, for example because it is out of memory.
  void give_up(const char* cause) noexcept;

  /// When to call retry() (os::monotonic_ns); nullopt if there is no shortage.
  [[nodiscard]] std::optional<std::uint64_t> next_retry_ns() const;
  /// During a shortage: tries to fill the page again if it is time.
  SessionState retry();

  /// Returns and clears a message for the log; empty if there is none.
  [[nodiscard]] std::string take_note() { return std::exchange(note_, {}); }

  /// Waits up to `timeout_ms` (-1: forever) for events or the VM's end, and handles them. If blocks
  /// are deferred, does not wait but fills some of them.
  SessionState step(int timeout_ms);

  enum class Populated : std::uint8_t {
    kMore,   ///< call populate() again
    kWaits,  ///< waiting for the reader, or for portions that other sessions use
    kDone,   ///< the plan is completely filled, or the session has ended
  };
  /// Fills up to `max_blocks` more blocks of the plan. Never waits for the reader.
  Populated populate(std::uint32_t max_blocks);

  /// Gives the planned portions back. False while one of them is being read: call again after the
  /// reader signals.
  bool stop_populating();

  /// Replaces the plan and starts at its beginning. Waits for a portion that is being read.
  void set_plan(const PopulatePlan* plan, PlanReader* reader);

  /// Ends the session without ending the VM: unregisters its memory from the userfaultfd, so that
  /// the kernel fills missing pages with zeros. REQUIRES: populated by a plan with `to_detach` or
  /// `rest`, so that only zeros are missing. If the VM has exited meanwhile the state is kEnded.
  /// Never waits: call it again until it returns true.
  bool detach();

  [[nodiscard]] SessionState state() const { return state_; }
  [[nodiscard]] const std::string& failure() const { return failure_; }
  /// The same, moved out.
  [[nodiscard]] std::string take_failure() { return std::move(failure_); }

 private:
  /// A fault around which blocks are to be filled.
  struct Around {
    FaultAround* windows = nullptr;  ///< &data_around_ or &zeros_around_; null: fill nothing
    std::uint32_t block = 0;
  };

  Session(const engine::Chain& chain, VmState& vm, RegionTable regions,
          const VmDescriptors& descriptors, std::span<std::byte> buffer,
          const SessionOptions& options, os::AnonymousMapping filled);

  void finish_predecessor_events();
  std::size_t read_events(std::span<uffd_msg> slots);
  /// Marks the blocks of the REMOVE events in `slots` and clears those slots.
  void apply_removes(std::span<uffd_msg> slots);
  void mark_removed(std::uint64_t start, std::uint64_t end);
  /// Fails closed on a fork event, which a VMM does not request, and closes its descriptor.
  void refuse_forks(std::span<const uffd_msg> slots);
  /// Reads events that the kernel requires to be read before a fill: applies REMOVEs, and wakes
  /// faults so that they recur. False if there was no event.
  bool reread_events();
  /// What to do about a fault whose page could not be filled: retry, wake the thread, or nothing.
  enum class Next : std::uint8_t { kAgain, kWake, kNothing };
  /// Corrects the result of a fill if the pool of huge pages is empty, which the kernel reports as
  /// a present page.
  [[nodiscard]] os::FillResult distinguish_empty_pool(const os::FillResult& result,
                                                      const Region& region,
                                                      std::uint64_t address) const;
  /// Begins a shortage: the host has no page for `address`. `waited_for`: a thread waits for it.
  void begin_shortage(const Region& region, std::uint64_t address, bool waited_for);
  void end_shortage();
  void give_up_shortage();
  Next after_refused_fill(const os::FillResult& result, const Region& region, std::uint64_t page);
  /// Fills the faulting page. Returns whether to fill around it at once.
  Around serve_fault(std::uint64_t address);
  /// Records a fault that was served with `run`. Returns whether to fill around it at once.
  Around note_fault(const Piece& run);
  /// Fills missing blocks of the piece around a fault, at most `limit`. True if more remain. Blocks
  /// that the kernel refuses to fill are skipped; they are handled when they fault.
  bool fill_around(const Around& around, std::uint32_t limit);
  /// Fills `run`, whose blocks are all missing, from `data` unless it is zeros. Returns the number
  /// of blocks done, 0 to stop.
  std::uint32_t fill_missing(FaultAround& windows, const Region& region, const Piece& run,
                             std::span<const std::byte> data);
  /// The consecutive blocks of one kind around a fault, within its window and region. Empty if the
  /// faulting block is no longer of that kind.
  [[nodiscard]] BlockRun piece_around(const Region& region, const Around& around) const;
  /// The run of one kind that begins at `block`, limited to `most_data` or `most_zeros` blocks.
  /// With huge pages, the whole page.
  [[nodiscard]] Piece run_at(const Region& region, std::uint32_t block, std::uint32_t most_data,
                             std::uint32_t most_zeros) const;
  /// Reads and fills `run`.
  os::FillResult fill(const Region& region, const Piece& run);
  os::FillResult fill_huge_page(const Region& region, std::uint32_t first_block);
  /// Fills the first page of a region with zeros. REQUIRES: only zeros are missing.
  os::FillResult fill_zeros_at(const Region& region);
  os::FillResult zero(std::uint64_t address, std::uint64_t length);
  /// Copies data that was read and verified.
  os::FillResult copy(std::uint64_t address, std::span<const std::byte> data);
  os::FillResult copy_huge_page(const Region& region, std::uint32_t first_block,
                                std::span<std::byte> page);
  /// Reads and verifies blocks with retries; fails closed and returns false if that is impossible.
  bool read_blocks(std::uint32_t block, std::span<std::byte> buffer, std::uint64_t host_address);
  /// Wakes waiting threads; fails closed if that is impossible.
  void wake(std::uint64_t host_address, std::uint64_t length);
  void fail_closed(const std::string& cause, std::uint64_t host_address, std::uint64_t length);
  void record(std::uint32_t block);
  void end_recording();
  void count_latency(std::uint64_t started_ns);
  /// The blocks of the plan at a position: at most `limit`, none at its end.
  [[nodiscard]] BlockRun plan_at(std::uint64_t position, std::uint32_t limit) const;
  /// The position `blocks` further on, at most at the start of the next run.
  [[nodiscard]] std::uint64_t plan_after(std::uint64_t position, std::uint32_t blocks) const;
  /// Plans and posts as many portions as this session may have.
  void plan_ahead();
  /// False at the end of the plan.
  bool plan_portion(Portion& portion);
  /// The piece to fill at the start of a run of the plan, and the number of plan blocks it covers.
  struct PlannedPiece {
    Piece piece;                    ///< nothing to fill if its count is 0
    std::uint32_t plan_blocks = 0;  ///< 0: it does not fit in the portion
  };
  [[nodiscard]] PlannedPiece plan_piece(const BlockRun& next, std::uint32_t room,
                                        const Portion& portion) const;
  /// Fills up to `left` blocks of a portion and decrements `left`; true once it is complete.
  bool fill_portion(Portion& portion, std::uint32_t& left);
  /// Fills the next page or run of the portion's next piece. Returns the number of blocks done, 0
  /// if an event must be read first.
  std::uint32_t fill_piece(const Portion& portion, std::uint32_t limit);
  std::uint32_t fill_page_piece(const Portion& portion, const Region& region, std::uint32_t block);
  os::FillResult fill_from(const Portion& portion, const Region& region, const Piece& run);
  void finish_portion();
  /// Ends the session if necessary. Returns 0.
  std::uint32_t after_refused_populate(const os::FillResult& result, const Region& region,
                                       std::uint32_t block);
  /// Adapts populate_limit_: 1 after a run that is not in one mapping, which the kernel refuses to
  /// fill at once; then doubled after each success.
  void limit_populate(const Piece& run, os::FillOutcome outcome);
  [[nodiscard]] bool is_removed(std::uint32_t block) const { return is_bit_set(removed_, block); }
  [[nodiscard]] bool is_removed_page(std::uint32_t first_block) const;
  /// True if the 2 MiB page contains only zeros.
  [[nodiscard]] bool is_zero_page(std::uint32_t first_block) const;
  /// Number of blocks from `block`, which is in no region, to the next region.
  [[nodiscard]] std::uint32_t unmapped_from(std::uint32_t block) const;
  /// Number of consecutive blocks from `block` on, up to `limit`, that are all removed or all not.
  [[nodiscard]] std::uint32_t alike(std::uint32_t block, std::uint32_t limit) const;
  [[nodiscard]] std::uint64_t address_of(const Region& region, std::uint32_t block) const;

  const engine::Chain& chain_;
  VmState& vm_;
  VmCounters& counters_;
  RegionTable regions_;
  VmDescriptors fds_;
  SessionOptions options_;
  SessionState state_ = SessionState::kServing;
  std::string failure_;
  // Populating: the portions that are planned and not yet filled, in the order of the plan.
  std::array<Portion*, PlanReader::kPortions> ahead_{};
  std::size_t ahead_count_ = 0;
  std::uint64_t planned_position_ = 0;
  bool plan_ended_ = false;
  std::unique_ptr<Portion> own_portion_;  ///< used without a reader
  std::uint32_t populate_limit_ = kPortionBlocks;
  os::AnonymousMapping filled_;  ///< bits of data_around_ and zeros_around_
  FaultAround data_around_;
  FaultAround zeros_around_;
  std::span<uffd_msg> slots_;
  std::span<uffd_msg> reread_slots_;
  std::span<std::uint64_t> removed_;  ///< a bit per block
  std::span<std::byte> buffer_;
  std::uint64_t detached_ns_ = 0;  ///< when its memory was unregistered; 0: it is registered
  Shortage shortage_;
  std::string note_;
};

}  // namespace lamina::pager
