// The working set: the blocks that a resume touched first, in order. Recorded once, replayed by
// later resumes. The bytes are described in docs/format.md.
//
// It is a hint and nothing depends on it: a file that cannot be read is as good as none, and blocks
// that a resume does not need only cost the time to fill them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "format/trailer.h"
#include "lamina/result.h"

namespace lamina::format {

inline constexpr std::size_t kMaxWorkingSetRuns = std::size_t{1} << 20;

struct WorkingSet {
  std::uint64_t memory_bytes = 0;
  std::vector<BlockRun> runs;  ///< in the order of first touch; may overlap

  bool operator==(const WorkingSet&) const = default;
};

/// Largest file that decode_working_set() accepts.
std::uint64_t max_working_set_bytes();

/// kCorrupt when the bytes are not a whole working set: every truncation and every changed byte is
/// noticed. Every run lies inside the memory.
Result<WorkingSet> decode_working_set(std::span<const std::byte> bytes);

/// REQUIRES: at most kMaxWorkingSetRuns runs, all inside the memory.
std::vector<std::byte> encode_working_set(const WorkingSet& working_set);

}  // namespace lamina::format
