// Merging the youngest layers of a snapshot where a policy asks for it.
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

/// The default policy: "tiered:soft=8,hard=32,ratio=2,mean=64,max=256".
inline constexpr const char* kDefaultMergePolicy = "tiered";

struct CompactOptions {
  std::string snapshot{};  ///< path: STORE/NAME
  /// "tiered", "full", "cap=N" or "off". Limits of the first two follow a colon:
  /// "tiered:soft=8,hard=32,ratio=2,mean=64,max=256", "full:cap=8,hard=32". docs/design.md explains
  /// them.
  std::string policy = kDefaultMergePolicy;
  bool dry_run = false;                  ///< plans the merge and changes nothing
  std::uint64_t rate_limit_bytes_s = 0;  ///< bytes merged per second, cloned ones too; 0: no limit
  /// Merges with the lowest CPU priority and the idle class of I/O, in a thread of its own. The
  /// call still returns only when the merge has ended: for more, call it from a thread of yours.
  bool background = false;
  /// May be null. With `background` it is called from that other thread, never from two at once.
  Progress* progress = nullptr;
};

enum class CompactOutcome : std::uint8_t {
  kNothing,  ///< the policy has nothing to merge
  kPlanned,  ///< dry run: the report describes the merge that would be done
  kMerged,
  kDropped,  ///< other writers replaced the snapshot during each attempt; it is as they left it
};

template <>
inline constexpr std::array kWords<CompactOutcome> = {
    Word<CompactOutcome>{"nothing", CompactOutcome::kNothing},
    Word<CompactOutcome>{"planned", CompactOutcome::kPlanned},
    Word<CompactOutcome>{"merged", CompactOutcome::kMerged},
    Word<CompactOutcome>{"dropped", CompactOutcome::kDropped}};

/// What was done, or for a dry run what would be done. A merge of the same snapshot reports the
/// same bytes as its dry run, but for `cloned_bytes`.
struct CompactReport {
  std::string snapshot;  ///< path
  CompactOutcome outcome = CompactOutcome::kNothing;
  std::string policy;  ///< with all its limits
  Uuid pause_id;       ///< unchanged by a merge
  std::uint32_t layers_before = 0;
  std::uint32_t layers_after = 0;
  std::uint32_t merged_layers = 0;     ///< how many of the youngest; 0 when nothing is merged
  std::uint64_t read_bytes = 0;        ///< live blocks of the merged layers
  std::uint64_t written_bytes = 0;     ///< of the new layer, without its trailer
  std::uint64_t cloned_bytes = 0;      ///< of those, neither read nor written; 0 in a dry run
  std::uint64_t freed_bytes = 0;       ///< of merged layers that no other directory links
  std::uint64_t duplicated_bytes = 0;  ///< of merged layers that other directories link: they stay
  std::uint32_t attempts = 0;          ///< merges that were begun
  /// True if the snapshot still has as many layers as the policy's hard limit, or more. pause()
  /// does not look at policies: it is the caller who merges before the next pause.
  bool next_pause_must_wait = false;
  std::vector<std::string> notes;  ///< one line each
};

/// Checks a policy. kUsage if `policy` is not one, or if its limits contradict each other.
/// Thread-safe.
Status check_merge_policy(const std::string& policy);

/// The number of layers from which on the caller should merge a snapshot before its next pause; 0
/// for "off": never. kUsage as above. Thread-safe.
Result<std::uint32_t> hard_layer_limit(const std::string& policy);

/// Merges the youngest layers of a snapshot, as many as the policy says, and replaces the snapshot
/// with the result. Pauses come first: the lock of the name is held for publishing only. If another
/// writer replaces the snapshot meanwhile, the merge is discarded and planned again, four times at
/// most. After that the outcome is kDropped, which is not an error.
///
/// Call it for the snapshot of each VM after a pause, and at times for all (snapshots_of()).
///
/// On failure the snapshot is unchanged. A crash at any moment leaves the old snapshot or the new
/// one. kUsage: the policy, or the name of the snapshot; kNotFound; kCorrupt: the header or a block
/// that was read; kNoSpace; kInterrupted; else kFailed. Thread-safe.
Result<CompactReport> compact(const CompactOptions& options);

}  // namespace lamina
