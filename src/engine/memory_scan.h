// Reading a memory file that Firecracker wrote: which blocks it changes, to what, with which
// checksums, and (for a compact layer) copying the data.
//
// The unit is the run, not the block: holes are skipped without touching them, data is read once in
// chunks that stay in the cache, tested for zeros, hashed, compared with the parent where asked,
// and written from the very buffer that was hashed. Where the file system can share storage, a
// compact layer is cloned instead: a second pass clones the long runs and moves the short ones
// through a buffer that is checked again.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/chain.h"
#include "format/trailer.h"
#include "lamina/progress.h"
#include "lamina/result.h"
#include "mapping/overlay.h"
#include "os/sparse_file.h"

namespace lamina::engine {

/// What to read, and how.
struct MemoryScan {
  int memory_file = -1;
  std::string path;                ///< of the memory file, for messages
  std::uint64_t memory_bytes = 0;  ///< its size
  /// A full file says what all of memory is: a hole is zeros. In a diff a hole is "not changed".
  bool is_full = true;
  /// A diff's written zeros mean "not changed" (the original program's reading) instead of zeros.
  bool zeros_inherit = false;
  /// Refuse a diff without any hole that has written zeros where the parent has data: whether the
  /// guest cleared those blocks or a copy of the file filled its holes cannot be told.
  bool refuse_ambiguous = false;
  /// Refuse a diff that has, or may have, preallocated storage: on its file system that cannot be
  /// told from written zeros.
  bool refuse_preallocated = false;
  /// The runs that are written, where they are known better than by asking now; else null.
  const std::vector<ByteRange>* written = nullptr;
  const Chain* parent = nullptr;  ///< null when there is none
  /// Compare with the parent byte by byte and keep only what differs. REQUIRES: parent.
  bool compare_with_parent = false;
  /// Where to write the data of a compact layer, an empty file; -1 to only scan (adopted layout).
  int compact_file = -1;
  std::string compact_path;
  Progress* progress = nullptr;
};

struct MemoryScanResult {
  std::vector<mapping::Extent> changes;  ///< in guest order
  std::vector<std::uint64_t> checksums;  ///< of each stored block, in guest order
  std::vector<BlockRun> unchanged;       ///< the runs of unchanged_blocks
  std::uint64_t stored_blocks = 0;
  std::uint64_t zero_blocks = 0;       ///< blocks that the file sets to zero
  std::uint64_t unchanged_blocks = 0;  ///< blocks that the file has but the parent has just so
  std::uint64_t inherited_blocks = 0;  ///< blocks that the file does not have (a diff's holes)
  std::uint64_t cloned_blocks = 0;     ///< of stored_blocks, how many share storage with the file
};

/// Takes the file's extents, then reads it. Fails with kFailed when the file changes size meanwhile
/// or is ambiguous. On failure `compact_file` holds part of the data.
Result<MemoryScanResult> scan_memory_file(const MemoryScan& scan);

}  // namespace lamina::engine
