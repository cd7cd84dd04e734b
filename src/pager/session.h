// One VM whose memory is being served.
//
// One thread owns a session and does everything with its descriptor, in order: it reads events,
// applies REMOVEs before anything else of the batch, fills the pages that faults ask for, and
// between faults, in small portions, what it was asked to populate. So there is nothing to lock and
// no order to get wrong. The fault path allocates nothing, locks nothing and logs nothing. What is
// to be populated another thread reads and checks ahead (PlanReader); whether a block is still to
// be filled is asked when it is copied.
//
// What a fault costs: a lookup, one read into a buffer, its checksum, and one ioctl from that
// very buffer: first for the page that is waited for, then, when nobody waits, for those around it
// (FaultAround). Never from a mapping of the layer: that could change, or raise SIGBUS,
// between check and copy.
//
// REMOVE: a block that the guest gave back reads as zeros from then on, whatever the snapshot
// holds. A bit per block remembers it. Events may be read in another order than they happened: a
// fault may be read before a REMOVE that came first. Then the kernel refuses the fill (EAGAIN)
// until the REMOVE has been read; it is read and applied, and the fault is looked at anew.
//
// What only this process would know is kept in a VmState, so that a successor can go on from any
// instruction: it applies the REMOVEs that it finds in the event slots, and wakes all who wait.
//
// Failing closed: a block that cannot be read or is wrong, after retries, kills the VM through a
// pidfd taken at the handshake, and poisons the page where the kernel can. The guest never sees
// zeros in place of data, and never waits for ever.
//
// A host without a page to give is no reason to kill at once: see Shortage.
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
  kDetached,  ///< all of its memory is there, and it needs nobody any more
};

/// The windows around a fault (FaultAround), at least 1.
struct FaultLimits {
  std::uint32_t data_blocks = 16;   ///< 64 KiB
  std::uint32_t zero_blocks = 512;  ///< 2 MiB
};

/// What filling such a window costs, in faults of about 7 us: 24 us for 16 blocks of data, 45 for
/// 512 zeros, from the page cache (docs/decisions/0011).
inline constexpr std::uint32_t kFaultsOfDataWindow = 3;
inline constexpr std::uint32_t kFaultsOfZeroWindow = 6;

/// What is filled at most of what was put off, between two looks at the events: some 10 us from the
/// page cache, so that a fault does not wait long.
inline constexpr std::uint32_t kDataPartBlocks = 8;
inline constexpr std::uint32_t kZeroPartBlocks = 64;

/// What is filled without a fault asking for it.
struct PopulatePlan {
  std::vector<BlockRun> first;  ///< in this order; may overlap
  bool rest = false;            ///< then all of the memory, in guest order
  /// Pages of zeros are left to the kernel, which fills them in once the VM is detached: then a
  /// memory that is large and empty is soon done.
  bool to_detach = false;
};

struct SessionOptions {
  FaultLimits limits;
  /// Until then (os::monotonic_ns) the blocks that faults ask for are noted, in order, up to
  /// kMaxRecordedBlocks. Meanwhile data is filled block by block, because only what faults is
  /// noted. 0: nothing is noted.
  std::uint64_t record_until_ns = 0;
  const PopulatePlan* plan = nullptr;  ///< may be null; must outlive the session
  /// Of the thread that uses the session, and outlives it. Null: populating reads for itself.
  PlanReader* reader = nullptr;
  ShortageLimits shortage;
};

/// Bytes of the buffer that a session fills pages from.
inline constexpr std::size_t kFillBufferBytes = kHugePageBytes;
static_assert(kFillBufferBytes == kPortionBlocks * kBlockBytes);

/// The descriptors of a VM. They must outlive its session.
struct VmDescriptors {
  int userfaultfd = -1;
  int pidfd = -1;
};

class Session {
 public:
  /// Begins to serve a VM, or goes on where a predecessor was killed: applies what it had read but
  /// not done, and wakes all regions once, so that whoever waited for it faults again. kFailed when
  /// the process is gone or may not be killed (then failing closed would be impossible). `chain`,
  /// A VM with huge pages is served only if its page table may be read: else an empty pool could
  /// not be told from a page that is there. `state` and `buffer` (kFillBufferBytes, shared by the
  /// sessions of one thread) must outlive the session; everything is used by the calling thread
  /// only.
  static Result<std::unique_ptr<Session>> create(const engine::Chain& chain, VmState& state,
                                                 const VmDescriptors& descriptors,
                                                 std::span<std::byte> buffer,
                                                 const SessionOptions& options = {});
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  Session(Session&&) = delete;
  Session& operator=(Session&&) = delete;
  /// Waits while something is being read ahead for it: see stop_populating().
  ~Session();

  /// Handles the events that wait in the userfaultfd, VmState::kSlots at most. Returns how many
  /// there were. Never blocks for an event.
  std::size_t handle_events();

  /// What is around some faults has been put off, because nobody waits for it.
  [[nodiscard]] bool has_deferred() const {
    return data_around_.has_deferred() || zeros_around_.has_deferred();
  }

  /// Fills a part of that, if there is any. To be called while no VM of the thread has events.
  SessionState fill_deferred();

  /// The VM's process has exited.
  void end();

  /// Something of this process stands in the way (it has no memory left, say): kills the VM.
  void give_up(const char* cause) noexcept;

  /// When retry() has something to do (os::monotonic_ns); nothing when the VM lacks no page.
  [[nodiscard]] std::optional<std::uint64_t> next_retry_ns() const;
  /// Tries once more what the host had no page for, when it is time.
  SessionState retry();

  /// What is worth a line in the log, once each; empty when nothing is.
  [[nodiscard]] std::string take_note() { return std::exchange(note_, {}); }

  /// Waits up to `timeout_ms` (-1: for ever) for events or the VM's end, and handles them. Does not
  /// wait while something is put off, but fills a part of that.
  SessionState step(int timeout_ms);

  enum class Populated : std::uint8_t {
    kMore,   ///< there is more to do at once
    kWaits,  ///< for the reader, or for portions that other sessions use
    kDone,   ///< all of the plan is filled, or the session does not serve any more
  };
  /// Fills up to `max_blocks` more of what the plan says. Never waits for the reader.
  Populated populate(std::uint32_t max_blocks);

  /// Lets go of what is read ahead. False while some of it is being read just now: the reader tells
  /// when it has done so.
  bool stop_populating();

  /// Replaces the plan; populating starts at its beginning. Waits for what is being read just now.
  void set_plan(const PopulatePlan* plan, PlanReader* reader);

  /// Ends the session without ending the VM: takes its memory out of the userfaultfd's hands, so
  /// that the kernel answers faults by itself, with zeros. REQUIRES: populated by a plan with
  /// `to_detach`, or `rest`: then only zeros are missing. A VM that has exited meanwhile has ended.
  /// Never waits: to be called again until it returns true.
  bool detach();

  [[nodiscard]] SessionState state() const { return state_; }
  [[nodiscard]] const std::string& failure() const { return failure_; }
  /// The same, without a copy.
  [[nodiscard]] std::string take_failure() { return std::move(failure_); }

 private:
  /// A block, what is around which is to be filled.
  struct Around {
    FaultAround* windows = nullptr;  ///< of its kind: &data_around_ or &zeros_around_; null: none
    std::uint32_t block = 0;
  };

  Session(const engine::Chain& chain, VmState& vm, RegionTable regions,
          const VmDescriptors& descriptors, std::span<std::byte> buffer,
          const SessionOptions& options, os::AnonymousMapping filled);

  void finish_predecessors_work();
  std::size_t read_events(std::span<uffd_msg> slots);
  /// Marks what REMOVE events in `slots` say and clears their slots.
  void apply_removes(std::span<uffd_msg> slots);
  void mark_removed(std::uint64_t start, std::uint64_t end);
  /// Closes the descriptors that fork events brought. A VMM asks for none.
  void refuse_forks(std::span<const uffd_msg> slots);
  /// Reads what the kernel insists on before it fills: REMOVEs are applied, faults are woken, so
  /// that they come again.
  /// False when there was nothing to read.
  bool reread_events();
  /// What becomes of a fault whose page could not be filled.
  enum class Next : std::uint8_t { kAgain, kWake, kNothing };
  /// What the kernel said about a fill, with the empty pool of huge pages told apart.
  [[nodiscard]] os::FillResult distinguish_empty_pool(const os::FillResult& result,
                                                      const Region& region,
                                                      std::uint64_t address) const;
  /// The host has no page for what begins at `address`. `waited_for`: a thread waits for it.
  void begin_shortage(const Region& region, std::uint64_t address, bool waited_for);
  void end_shortage();
  void give_up_shortage();
  Next after_refused_fill(const os::FillResult& result, const Region& region, std::uint64_t page);
  /// Fills the page that a fault asks for. Returns what is to be filled around it at once.
  Around serve_fault(std::uint64_t address);
  /// Notes a fault that has been answered with `run`. Returns what is to be filled around it now.
  Around note_fault(const Piece& run);
  /// Fills what is missing of the piece around a block, `limit` blocks at most. True when more is
  /// to be filled. What the kernel refuses is not insisted on: a fault on it tells anew.
  bool fill_around(const Around& around, std::uint32_t limit);
  /// Fills `run`, of which nothing is filled, from `data` where it is data. Returns how many blocks
  /// of it are settled, 0 when it is not to be gone on with.
  std::uint32_t fill_missing(FaultAround& windows, const Region& region, const Piece& run,
                             std::span<const std::byte> data);
  /// The piece around a block: what is of its kind, without a gap, in its window and region. Empty
  /// when the block is not of that kind any more.
  [[nodiscard]] BlockRun piece_around(const Region& region, const Around& around) const;
  /// The run of one kind that begins at a block, so many blocks at most if it is data or zeros; the
  /// whole page where pages are huge.
  [[nodiscard]] Piece run_at(const Region& region, std::uint32_t block, std::uint32_t most_data,
                             std::uint32_t most_zeros) const;
  /// Fills `run` at its place in `region`; the result is in bytes from its start.
  os::FillResult fill(const Region& region, const Piece& run);
  os::FillResult fill_huge_page(const Region& region, std::uint32_t first_block);
  /// Zeros for the first page of a region of which only zeros are missing.
  os::FillResult fill_zeros_at(const Region& region);
  os::FillResult zero(std::uint64_t address, std::uint64_t length);
  /// Copies data that has been read and checked.
  os::FillResult copy(std::uint64_t address, std::span<const std::byte> data);
  os::FillResult copy_huge_page(const Region& region, std::uint32_t first_block,
                                std::span<std::byte> page);
  /// Reads into the buffer, checked; retries, then fails closed. False when it did.
  bool read_blocks(std::uint32_t block, std::span<std::byte> buffer, std::uint64_t host_address);
  /// A thread that cannot be woken would wait for ever: then it fails closed.
  void wake(std::uint64_t host_address, std::uint64_t length);
  void fail_closed(const std::string& cause, std::uint64_t host_address, std::uint64_t length);
  void record(std::uint32_t block);
  void end_recording();
  void count_latency(std::uint64_t started_ns);
  /// The blocks of the plan at a position: at most `limit`, none when it is done.
  [[nodiscard]] BlockRun plan_at(std::uint64_t position, std::uint32_t limit) const;
  /// The position so many blocks further on, not beyond the end of a run.
  [[nodiscard]] std::uint64_t plan_after(std::uint64_t position, std::uint32_t blocks) const;
  /// Plans portions and has them read, as many as this session may have.
  void plan_ahead();
  /// False when there is nothing more in the plan.
  bool plan_portion(Portion& portion);
  /// What is to be filled at the start of a run of the plan, and how much of the run that settles.
  struct PlannedPiece {
    Piece piece;                    ///< none when its count is 0
    std::uint32_t plan_blocks = 0;  ///< 0: the portion has no room for it
  };
  [[nodiscard]] PlannedPiece plan_piece(const BlockRun& next, std::uint32_t room,
                                        const Portion& portion) const;
  /// Fills more of a portion and counts `left` down; false when it has not filled all of it.
  bool fill_portion(Portion& portion, std::uint32_t& left);
  /// Fills the first page or run of what is left of the portion's next piece; returns how many
  /// blocks of it are settled, 0 when an event has to be read first.
  std::uint32_t fill_piece(const Portion& portion, std::uint32_t limit);
  std::uint32_t fill_page_piece(const Portion& portion, const Region& region, std::uint32_t block);
  os::FillResult fill_from(const Portion& portion, const Region& region, const Piece& run);
  void finish_portion();
  /// The session is over, or goes on after an event: 0.
  std::uint32_t after_refused_populate(const os::FillResult& result, const Region& region,
                                       std::uint32_t block);
  /// What the kernel refused to fill at once, because it is not of one mapping, is filled block by
  /// block, then by twice as many each time.
  void limit_populate(const Piece& run, os::FillOutcome outcome);
  [[nodiscard]] bool is_removed(std::uint32_t block) const { return is_bit_set(removed_, block); }
  [[nodiscard]] bool is_removed_page(std::uint32_t first_block) const;
  /// The page of 2 MiB has nothing but zeros.
  [[nodiscard]] bool is_zero_page(std::uint32_t first_block) const;
  /// Blocks from `block`, which no region maps, to the next region.
  [[nodiscard]] std::uint32_t unmapped_from(std::uint32_t block) const;
  /// How many blocks from `block` on, up to `limit`, are removed, or are not, as the first is.
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
  // Populating. What is planned and not yet filled, in the order of the plan.
  std::array<Portion*, PlanReader::kPortions> ahead_{};
  std::size_t ahead_count_ = 0;
  std::uint64_t planned_position_ = 0;
  bool plan_ended_ = false;
  std::unique_ptr<Portion> own_portion_;  ///< when there is no reader
  std::uint32_t populate_limit_ = kPortionBlocks;
  os::AnonymousMapping filled_;  ///< the bits of both kinds of windows
  FaultAround data_around_;
  FaultAround zeros_around_;
  std::span<uffd_msg> slots_;
  std::span<uffd_msg> reread_slots_;
  std::span<std::uint64_t> removed_;  ///< a bit per block
  std::span<std::byte> buffer_;
  std::uint64_t detached_ns_ = 0;  ///< since when its memory is the kernel's; 0: it is not
  Shortage shortage_;
  std::string note_;
};

}  // namespace lamina::pager
