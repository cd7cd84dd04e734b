// Merging layers of a snapshot into one.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lamina/progress.h"
#include "lamina/result.h"
#include "lamina/uuid.h"

namespace lamina {

struct MergeOptions {
  std::string snapshot{};                 ///< path: STORE/NAME
  std::optional<std::string> out{};       ///< path of a new snapshot; absent: replaces `snapshot`
  std::optional<std::uint32_t> layers{};  ///< how many of the youngest; absent: all
  Progress* progress = nullptr;           ///< may be null
  /// Merges only while the snapshot's youngest layer has this build id, else fails with kBusy, and
  /// holds the lock of the name for publishing only. (Without it, the lock is held all the time:
  /// pauses of the same name wait, other writers fail with kBusy.) If a pause replaces the snapshot
  /// meanwhile, the merge fails with kBusy. Not together with `out`.
  std::optional<Uuid> only_build{};
};

struct MergeReport {
  std::string snapshot;  ///< path of the result
  bool merged = false;   ///< false: there was nothing to merge, and nothing was changed
  Uuid build_id;         ///< of the merged layer
  Uuid pause_id;         ///< unchanged by a merge
  std::uint64_t generation = 0;
  std::uint32_t layers_before = 0;
  std::uint32_t layers_after = 0;
  std::uint64_t merged_blocks = 0;
  std::uint64_t dropped_blocks = 0;    ///< stored in the replaced layers, not used by the snapshot
  std::uint64_t cloned_bytes = 0;      ///< of the merged blocks, what shares storage with layers
  std::uint64_t copied_bytes = 0;      ///< the others
  std::uint64_t freed_bytes = 0;       ///< of replaced layers without another link
  std::uint64_t duplicated_bytes = 0;  ///< of replaced layers that other snapshots still link
  std::vector<std::string> notes;      ///< one line each
};

/// Merges layers at file level into one new layer. The memory that the snapshot resolves to, and
/// its pause id, stay the same. The merged layers are not written: other snapshots that link them
/// keep them. Blocks move with their checksums and are not all read, so a corrupt block may stay
/// corrupt under its old checksum, and is found when it is read.
///
/// Without `out` the snapshot's directory is exchanged atomically once the result is on the disk.
/// On failure nothing has changed; a crash at any moment leaves the old snapshot or the new one.
///
/// kUsage: `layers` is 0 or more than there are, a name is not one for a snapshot, or `only_build`
/// is given with `out`; kBusy: another writer has the lock of the written name, or the snapshot was
/// replaced meanwhile; kNotFound; kCorrupt: the header, or a block that was read; kNoSpace;
/// kInterrupted; kExists: `out` exists; else kFailed. Thread-safe.
Result<MergeReport> merge(const MergeOptions& options);

}  // namespace lamina
