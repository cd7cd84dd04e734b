// Which working set a snapshot has after a resume whose faults were recorded.
//
// A resume tells what it needed only in part. What was filled in advance does not fault, so whether
// the guest touched it is not known. And around a fault of data the blocks of a window (64 KiB) are
// filled too, so the recorded faults stand for their windows. So:
//
//   used     what was filled in advance, then the data in the windows of the faults
//   known    the part of `used` that is in the snapshot's working set
//
// The set stays as it is if it has at least nine tenths of what was used: sets of the same work
// differ by some percent from resume to resume, and adding those each time would let it grow for
// ever. If it has at least half, what was missing is added behind it. If it has less, or would
// become larger than kMaxKeptBlocks, the guest does something else by now: the faults of this
// resume replace it. What was right in the old set then faults next time, and comes back.
//
// Rejected: the last resume's faults alone (with a good set there are hardly any), the union of all
// (grows), and the blocks that are dirty at the next pause (they cover a third to three quarters of
// what a resume touches: it reads more than it writes).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/run.h"
#include "format/working_set.h"
#include "mapping/mapping.h"

namespace lamina::server {

/// 256 MiB, which is filled in some 0.1 s.
inline constexpr std::size_t kMaxKeptBlocks = 65536;
/// Blocks that a fault of data stands for, aligned (pager::FaultLimits::data_blocks).
inline constexpr std::uint32_t kRecordedWindowBlocks = 16;

struct WorkingSetChoice {
  /// The new set; absent: the present one stays.
  std::optional<format::WorkingSet> replacement;
  std::uint64_t used_blocks = 0;
  std::uint64_t known_blocks = 0;
};

/// `present`: the snapshot's working set; null: none. `replayed`: the runs that were filled in
/// advance; empty: none. `faults`: the faulting blocks in order. Blocks beyond the memory are
/// ignored.
WorkingSetChoice choose_working_set(const mapping::Mapping& mapping, std::uint64_t memory_bytes,
                                    const format::WorkingSet* present,
                                    std::span<const BlockRun> replayed,
                                    std::span<const std::uint32_t> faults);

}  // namespace lamina::server
