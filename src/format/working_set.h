// The working set: the blocks that a resume touched first, in order. It is recorded once and
// replayed by later resumes. The bytes are described in docs/format.md.
//
// It is only a hint: a file that cannot be read is ignored, and blocks that a resume does not need
// cost only the time to fill them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/run.h"
#include "lamina/result.h"

namespace lamina::format {

inline constexpr std::size_t kMaxWorkingSetRuns = std::size_t{1} << 20;

struct WorkingSet {
  std::uint64_t memory_bytes = 0;
  std::vector<BlockRun> runs;  ///< in the order of first touch; may overlap

  bool operator==(const WorkingSet&) const = default;
};

/// Maximum size of a working set file.
std::uint64_t max_working_set_bytes();

/// kCorrupt if the bytes are not a complete working set; every truncation and every changed byte is
/// detected. All runs lie inside the memory.
Result<WorkingSet> decode_working_set(std::span<const std::byte> bytes);

/// REQUIRES: at most kMaxWorkingSetRuns runs, all inside the memory.
std::vector<std::byte> encode_working_set(const WorkingSet& working_set);

}  // namespace lamina::format
