// Reads a memory file written by Firecracker: finds the changed blocks, computes their checksums,
// and copies the data if the layer is compact.
//
// It works on runs: holes are skipped without reading them. Data is read once, in chunks that stay
// in the cache: tested for zeros, hashed, compared with the parent if requested, and written from
// the same buffer that was hashed. If the file system can share storage, a compact layer is cloned
// instead: a second pass clones long runs, and copies short ones through a buffer that is verified
// again.
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

/// Input and options of a scan.
struct MemoryScan {
  int memory_file = -1;
  std::string path;                ///< of the memory file, for messages
  std::uint64_t memory_bytes = 0;  ///< size of the memory file
  /// In a full file a hole means zeros, in a diff "not changed".
  bool is_full = true;
  /// Written zeros of a diff mean "not changed" (as wrenn interprets them) instead of zeros.
  bool zeros_inherit = false;
  /// Refuse a diff that has no holes, but written zeros where the parent has data: either the guest
  /// cleared those blocks, or a copy of the file filled its holes.
  bool refuse_ambiguous = false;
  /// Refuse a diff that has or may have preallocated storage, which its file system does not
  /// distinguish from written zeros.
  bool refuse_preallocated = false;
  /// The written ranges, if they were determined earlier; else null.
  const std::vector<ByteRange>* written = nullptr;
  const Chain* parent = nullptr;  ///< null if there is none
  /// Compare with the parent byte by byte and keep only what differs. REQUIRES: parent.
  bool compare_with_parent = false;
  /// The empty file that receives the data of a compact layer; -1 to scan only (adopted layout).
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
  std::uint64_t unchanged_blocks = 0;  ///< blocks that are in the file but equal the parent's
  std::uint64_t inherited_blocks = 0;  ///< blocks that are not in the file (a diff's holes)
  std::uint64_t cloned_blocks = 0;     ///< stored blocks that share storage with the file
};

/// Determines the file's written ranges, then reads them. kFailed if the file shrinks meanwhile or
/// is ambiguous. After a failure `compact_file` contains part of the data.
Result<MemoryScanResult> scan_memory_file(const MemoryScan& scan);

}  // namespace lamina::engine
