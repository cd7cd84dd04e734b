// Decides when to merge, and how many of the youngest layers. Pure: the caller does the merge.
//
// A sandbox is paused thousands of times, and each pause adds a layer. Merging all layers whenever
// there are N of them (the policy `full`, which wrenn's snapshot package uses) keeps reads fast but
// rewrites the whole memory every N - 1 pauses, however little has changed. The default, `tiered`,
// merges layers of similar size, as a log-structured merge tree does:
//
//   1. At `soft_layers` layers, the youngest layers are merged: enough that fewer than soft_layers
//      are left, and then further older layers as long as the next one is smaller than `size_ratio`
//      times what is being merged. So each rewrite of a block puts it into a layer at least
//      1 + 1/ratio times as large, and a large base is not rewritten until the layers above it have
//      grown to 1/ratio of it.
//   2. The next older layer is merged too if most of it is superseded, which frees more than it
//      writes. And if half of all stored blocks are superseded, enough layers are merged, whatever
//      their number, that this is no longer so and that the merge frees at least what it writes.
//   3. A fault on a 2 MiB page costs one read per extent in its window. If windows have too many
//      extents, the smallest sufficient number of youngest layers is merged. Too many means above
//      the limit and above twice the number that a merge of all layers would leave, because no
//      merge can join data between zeros. The largest layer is not rewritten for this before the
//      others have a sixteenth of its blocks: otherwise one hot window would cost the whole memory
//      at each pause. (At 64 extents per window of 512 blocks on average the others have about that
//      much, so only the hot windows, which `max_extents` limits, have to wait.)
//
// Guarantees after a compaction: there are fewer than soft_layers layers, fewer superseded than
// live blocks, and on average at most max(mean_extents, 2 f) + 64 extents per window, where f is
// the average after a merge of all layers. Costs: rule 2 writes no more than it frees, hence no
// more than the diffs wrote; rule 3 writes at most 17 blocks per block outside the largest layer;
// rule 1 rewrites a block at most log(memory / diff) / log(1 + 1/ratio) times, unless sizes fall so
// steeply from layer to layer that the count alone forces a merge. merge_policy_simulation_test.cc
// measures this; docs/decisions/0007-merge-policy.md has the figures and the rejected alternatives.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "lamina/result.h"
#include "mapping/mapping.h"

namespace lamina::mapping {

enum class PolicyKind : std::uint8_t {
  kOff,     ///< never merge
  kFull,    ///< merge all layers once there are soft_layers of them
  kTiered,  ///< merge young layers of comparable size
};

/// A policy and its limits. Only kTiered uses the last three.
struct PolicyLimits {
  PolicyKind kind = PolicyKind::kTiered;
  std::uint32_t soft_layers = 8;    ///< merge at this number of layers; at least 2
  std::uint32_t hard_layers = 32;   ///< at this number the next pause waits; at least soft_layers
  std::uint32_t size_ratio = 2;     ///< 1 to 1000
  std::uint32_t mean_extents = 64;  ///< per 2 MiB window, on average; 2 to 512
  std::uint32_t max_extents = 256;  ///< in any window; 2 to 512

  bool operator==(const PolicyLimits&) const = default;
};

/// Parses "off", "full" and "tiered", the last two with optional limits: "full:cap=8,hard=32",
/// "tiered:soft=8,hard=32,ratio=2,mean=64,max=256"; "cap=8" means "full:cap=8". The hard limit
/// defaults to four times the soft limit. kUsage names the error and the valid choices.
Result<PolicyLimits> parse_policy(std::string_view text);

/// Formats a policy with all its limits; parse_policy() reads it back.
std::string policy_text(const PolicyLimits& limits);

/// What a merge of one layer costs and frees.
struct LayerLoad {
  std::uint64_t live_blocks = 0;  ///< written by a merge
  /// Stored but superseded: freed by a merge. 0 for a layer that other snapshots link, because it
  /// stays on the disk after a merge.
  std::uint64_t dead_blocks = 0;
};

/// How many of the youngest layers of `mapping` to merge now: 0 for none, else at least 2. `layers`
/// has an entry for each layer, oldest first. O(layers + extents), times log(layers) if windows
/// have too many extents. REQUIRES: valid limits, as from parse_policy(); layers.size() ==
/// mapping.layers().size().
std::size_t layers_to_merge(const PolicyLimits& limits, const Mapping& mapping,
                            std::span<const LayerLoad> layers);

/// True if a snapshot with this number of layers must be merged before its VM is paused again.
bool must_wait(const PolicyLimits& limits, std::size_t layer_count);

}  // namespace lamina::mapping
