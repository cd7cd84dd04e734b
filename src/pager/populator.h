// Fills pages of one VM without faults, by a plan, and detaches from the VM.
//
// The plan is cut into portions, which are read ahead (PlanReader) and filled in the order of the
// plan. A REMOVE may be read between plan and copy, so every block is checked again when it is
// copied. After each portion the position is saved for a successor. A successor may fill pages
// again, which only costs time: the kernel refuses to fill present pages.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/run.h"
#include "os/userfaultfd.h"
#include "pager/guest_memory.h"
#include "pager/plan_reader.h"
#include "pager/portion.h"
#include "pager/regions.h"
#include "pager/shortage.h"

namespace lamina::pager {

/// The blocks to fill without a fault.
struct PopulatePlan {
  std::vector<BlockRun> first;  ///< in this order; may overlap
  bool rest = false;            ///< then all of the memory, in guest order
  /// Skip pages of zeros, which the kernel fills once the VM is detached. So a large empty memory
  /// is populated quickly.
  bool to_detach = false;
};

enum class Populated : std::uint8_t {
  kMore,   ///< call populate() again
  kWaits,  ///< waiting for the reader, or for portions that other sessions use
  kDone,   ///< the plan is completely filled, or the session has ended
};

/// Used by the thread that uses its GuestMemory and owns its PlanReader.
class Populator {
 public:
  /// `plan` may be null: nothing is populated. `reader` may be null: the data is read here. All
  /// arguments must outlive this object. Continues at the position that a predecessor saved.
  Populator(GuestMemory& memory, Shortage& shortage, const PopulatePlan* plan, PlanReader* reader);
  Populator(const Populator&) = delete;
  Populator& operator=(const Populator&) = delete;
  Populator(Populator&&) = delete;
  Populator& operator=(Populator&&) = delete;
  /// Waits while a portion is being read: see stop().
  ~Populator();

  /// Fills up to `max_blocks` more blocks of the plan. Never waits for the reader.
  Populated populate(std::uint32_t max_blocks);

  /// Gives the planned portions back. False while one of them is being read: call again after the
  /// reader signals.
  bool stop();

  /// Replaces the plan and starts at its beginning. Waits for a portion that is being read.
  void set_plan(const PopulatePlan* plan, PlanReader* reader);

  /// Ends the session without ending the VM: unregisters its memory from the userfaultfd, so that
  /// the kernel fills missing pages with zeros. REQUIRES: populated by a plan with `to_detach` or
  /// `rest`, so that only zeros are missing. If the VM has exited meanwhile the state is kEnded.
  /// Never waits: call it again until it returns true.
  bool detach();

 private:
  /// The blocks of the plan at a position: at most `limit`, none at its end.
  [[nodiscard]] BlockRun plan_at(std::uint64_t position, std::uint32_t limit) const;
  /// The position `blocks` further on, at most at the start of the next run.
  [[nodiscard]] std::uint64_t plan_after(std::uint64_t position, std::uint32_t blocks) const;
  /// Plans and posts as many portions as this session may have.
  /// What populate() returns while blocks of the snapshot are being fetched.
  Populated wait_for_arrival();
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
  /// True if the 2 MiB page contains only zeros.
  [[nodiscard]] bool is_zero_page(std::uint32_t first_block) const;
  /// Number of blocks from `block`, which is in no region, to the next region.
  [[nodiscard]] std::uint32_t unmapped_from(std::uint32_t block) const;
  /// Fills up to `left` blocks of a portion and decrements `left`; true once it is complete.
  bool fill_portion(Portion& portion, std::uint32_t& left);
  /// Fills the next page or run of the portion's next piece. Returns the number of blocks done, 0
  /// if an event must be read first.
  std::uint32_t fill_piece(const Portion& portion, std::uint32_t limit);
  std::uint32_t fill_page_piece(const Portion& portion, const Region& region, std::uint32_t block);
  os::FillResult fill_from(const Portion& portion, const Region& region, const Piece& run);
  void finish_portion();
  /// Ends the session if necessary. Returns 0.
  std::uint32_t after_refused_fill(const os::FillResult& result, const Region& region,
                                   std::uint32_t block);
  /// Adapts run_limit_: 1 after a run that is not in one mapping, which the kernel refuses to fill
  /// at once; then doubled after each success.
  void limit_runs(const Piece& run, os::FillOutcome outcome);
  /// Unregisters all regions. False if the session has ended.
  bool unregister_all();

  GuestMemory& memory_;
  VmState& vm_;
  Shortage& shortage_;
  const PopulatePlan* plan_;
  PlanReader* reader_;
  /// The portions that are planned and not yet filled, in the order of the plan.
  std::array<Portion*, PlanReader::kPortions> ahead_{};
  std::size_t ahead_count_ = 0;
  std::uint64_t planned_position_;
  bool plan_ended_ = false;
  std::unique_ptr<Portion> own_portion_;  ///< used without a reader
  std::uint32_t run_limit_ = kPortionBlocks;
  std::uint64_t detached_ns_ = 0;  ///< when the memory was unregistered; 0: it is registered
};

}  // namespace lamina::pager
