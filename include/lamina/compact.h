#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "lamina/progress.h"
#include "lamina/result.h"
#include "lamina/uuid.h"
#include "lamina/words.h"

namespace lamina {

/// The policy where none is named; the same as "tiered:soft=8,hard=32,ratio=2,mean=64,max=256".
inline constexpr const char* kDefaultMergePolicy = "tiered";

struct CompactOptions {
  std::string snapshot;
  /// "tiered", "full", "cap=N" or "off", the first two with limits: "tiered:soft=8,hard=32,ratio=2,
  /// mean=64,max=256", "full:cap=8,hard=32". docs/design.md says what they mean.
  std::string policy = kDefaultMergePolicy;
  bool dry_run = false;                  ///< only say what would be done
  std::uint64_t rate_limit_bytes_s = 0;  ///< bytes merged per second, cloned ones too; 0: no limit
  bool background = false;               ///< lowest CPU priority, idle class of I/O
  Progress* progress = nullptr;          ///< may be null; called from another thread, one at a time
};

enum class CompactOutcome : std::uint8_t {
  kNothing,  ///< the policy has nothing to merge
  kPlanned,  ///< a dry run: the report says what a merge would do
  kMerged,
  kDropped,  ///< other writers came in between each time; the snapshot is as they left it
};

template <>
inline constexpr std::array kWords<CompactOutcome> = {
    Word<CompactOutcome>{"nothing", CompactOutcome::kNothing},
    Word<CompactOutcome>{"planned", CompactOutcome::kPlanned},
    Word<CompactOutcome>{"merged", CompactOutcome::kMerged},
    Word<CompactOutcome>{"dropped", CompactOutcome::kDropped}};

/// What was done, or would be. Bytes of a dry run are those that the merge itself then reports.
struct CompactReport {
  std::string snapshot;
  CompactOutcome outcome = CompactOutcome::kNothing;
  std::string policy;  ///< with all its limits
  Uuid pause_id;       ///< unchanged by a merge
  std::uint32_t layers_before = 0;
  std::uint32_t layers_after = 0;
  std::uint32_t merged_layers = 0;     ///< of the youngest; 0 when nothing is merged
  std::uint64_t read_bytes = 0;        ///< live blocks of the merged layers
  std::uint64_t written_bytes = 0;     ///< of the new layer, without its trailer
  std::uint64_t cloned_bytes = 0;      ///< of those, neither read nor written; 0 in a dry run
  std::uint64_t freed_bytes = 0;       ///< of merged layers that no other directory links
  std::uint64_t duplicated_bytes = 0;  ///< of merged layers that other directories link: they stay
  std::uint32_t attempts = 0;          ///< merges that were begun
  bool next_pause_must_wait = false;   ///< after this there are still hard limit layers or more
  std::vector<std::string> notes;
};

/// Fails with kUsage when `policy` is none, or its limits make no sense.
Status check_merge_policy(const std::string& policy);

/// The number of layers from which on a snapshot's next pause must wait for a merge; 0 when it
/// never must ("off"). kUsage as above.
Result<std::uint32_t> hard_layer_limit(const std::string& policy);

/// Merges the youngest layers of a snapshot, as many as the policy says, and puts the result in its
/// place. Off the path of pauses: the lock of the name is taken to publish only. When a pause comes
/// first the merge is thrown away and planned anew from what is there then, a few times; after that
/// it is dropped, which is no error. A crash at any moment leaves the old or the new snapshot.
Result<CompactReport> compact(const CompactOptions& options);

/// The paths of the snapshots in a store, sorted: directories with a header. kNotFound when there
/// is no such directory.
Result<std::vector<std::string>> snapshots_of(const std::string& store);

}  // namespace lamina
