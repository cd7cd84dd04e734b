// Moving the live blocks of some layers into one.
//
// Nothing is computed from what is copied: a block's checksum is carried over from the trailer of
// the layer it comes from, so a block that goes bad on the way, or was bad already, never passes
// for good. What the kernel moves is read back and compared with it, as the layers it comes from
// may go when the merge is published: what is not right is moved through the buffer instead, and
// what is not right there either ends the merge. Only layers without checksums are read for theirs.
//
// How a run is moved, best first: clone (no data moves), unless runs are short on average; for long
// runs a copy in the kernel; short runs, and all where the kernel cannot copy, are read into a
// buffer that holds neighbours of the output, checked there, and written together.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/chain.h"
#include "lamina/progress.h"
#include "lamina/result.h"
#include "mapping/overlay.h"

namespace lamina::engine {

/// What the data of a merged layer came to.
struct MergedData {
  std::vector<std::uint64_t> checksums;  ///< of each block, in order
  std::uint64_t cloned_bytes = 0;
  std::uint64_t kernel_copied_bytes = 0;
  std::uint64_t read_written_bytes = 0;
};

/// Writes the blocks of `moves` one after the other into the empty file `destination`.
/// `allow_clone` and `allow_kernel_copy` are switched off by tests only. Not synced.
struct MergeTarget {
  int destination = -1;
  std::string path;
  bool allow_clone = true;
  bool allow_kernel_copy = true;
  Progress* progress = nullptr;
};
Result<MergedData> merge_data(const Chain& chain, const std::vector<mapping::Extent>& moves,
                              const MergeTarget& target);

}  // namespace lamina::engine
