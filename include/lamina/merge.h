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
  std::string snapshot{};
  std::optional<std::string> out{};       ///< a new snapshot; without it `snapshot` is replaced
  std::optional<std::uint32_t> layers{};  ///< merge the N youngest layers; without it all
  Progress* progress = nullptr;           ///< may be null
  /// Merge only while the snapshot is of this build, and take the lock of its name only to publish:
  /// so a pause of the same name need not wait for the merge, which fails with kBusy when the
  /// snapshot was replaced meanwhile. Not together with `out`.
  std::optional<Uuid> only_build{};
};

struct MergeReport {
  std::string snapshot;
  bool merged = false;  ///< false: there was nothing to merge, and nothing was changed
  Uuid build_id;        ///< of the merged layer
  Uuid pause_id;        ///< unchanged by a merge
  std::uint64_t generation = 0;
  std::uint32_t layers_before = 0;
  std::uint32_t layers_after = 0;
  std::uint64_t merged_blocks = 0;
  std::uint64_t dropped_blocks = 0;  ///< stored in the replaced layers, used by nothing here
  std::uint64_t cloned_bytes = 0;
  std::uint64_t copied_bytes = 0;
  std::uint64_t freed_bytes = 0;       ///< of replaced layers that nothing else links
  std::uint64_t duplicated_bytes = 0;  ///< of replaced layers that other snapshots still link
  std::vector<std::string> notes;
};

/// Merges layers at file level into one new layer; the memory that the snapshot resolves to and its
/// pause id stay the same. The source layers are never written; without `out` the directory is
/// exchanged atomically once the result is on the disk, and a crash at any moment leaves the old or
/// the new snapshot. Holds the lock of the written name: kBusy when another writer has it.
Result<MergeReport> merge(const MergeOptions& options);

}  // namespace lamina
