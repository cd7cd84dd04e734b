// Patterns of dirty memory whose one measure is chosen, the rest being the same: for curves.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "guest_memory.h"
#include "lamina/result.h"
#include "snapshot_chain.h"

namespace lamina::bench {

/// `count` runs of `run_blocks` each, at equal distances over `blocks`.
std::vector<DirtyRun> spread_runs(std::uint32_t blocks, std::uint32_t count,
                                  std::uint32_t run_blocks, std::uint32_t version);

/// Memory full of data.
GuestMemory full_of_data(std::uint32_t blocks);

struct Stripes {
  std::uint32_t blocks = 0;
  std::uint32_t layers = 0;
  std::uint32_t run_blocks = 0;
};
/// A chain in which run after run of the memory, all of it data, comes from the next layer.
Result<SnapshotChain> build_striped_chain(const std::string& directory, const Stripes& stripes,
                                          ChainBuilder::Plain plain);

}  // namespace lamina::bench
