// Copies the live blocks of several layers into one.
//
// Checksums are not computed from the copied data but carried over from the source layer's trailer,
// so a block that is or becomes corrupt is always detected. Data that the kernel copies is read
// back and verified, because the source layers may be deleted once the merge is published. If it is
// wrong, it is copied through the buffer instead; if it is wrong there too, the merge fails. Only
// blocks of layers without checksums get new ones.
//
// Each run is copied by the cheapest method: clone (no data is copied), unless runs are short on
// average; copy_file_range for long runs; otherwise it is read into a buffer together with adjacent
// blocks of the output, verified there, and written.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/chain.h"
#include "lamina/progress.h"
#include "lamina/result.h"
#include "mapping/overlay.h"

namespace lamina::engine {

/// The result of a merge.
struct MergedData {
  std::vector<std::uint64_t> checksums;  ///< of each block, in order
  std::uint64_t cloned_bytes = 0;
  std::uint64_t kernel_copied_bytes = 0;
  std::uint64_t read_written_bytes = 0;
};

/// Where to merge to. Only tests turn off `allow_clone` and `allow_kernel_copy`.
struct MergeTarget {
  int destination = -1;  ///< an empty file
  std::string path;
  bool allow_clone = true;
  bool allow_kernel_copy = true;
  Progress* progress = nullptr;
};

/// Writes the blocks of `moves` one after the other to the destination. Not synced.
Result<MergedData> merge_data(const Chain& chain, const std::vector<mapping::Extent>& moves,
                              const MergeTarget& target);

}  // namespace lamina::engine
