// When to merge, and how many of the youngest layers. Pure: the store asks, and merges.
//
// A sandbox is paused thousands of times, and each pause adds a layer. Merging everything whenever
// there are N layers (the policy `full`, the original program's) keeps readers fast but rewrites
// the whole memory every N - 1 pauses, however little they changed. The default, `tiered`, is a
// binomial counter over sizes, as in a log-structured merge tree:
//
//   1. At `soft_layers` layers the youngest are merged: enough of them that fewer than soft_layers
//      are left, and then on, towards the older, as long as the next older layer is smaller than
//      `size_ratio` times what is being merged. So a block is rewritten when its layer has met its
//      like, each time into one at least 1 + 1/ratio times as large, and a large base is left alone
//      until what lies on it has grown to 1/ratio of it.
//   2. An older layer next to those is taken too when most of it is superseded: more is freed than
//      written. And when half of everything stored is superseded, enough layers are merged,
//      whatever their number, that it no longer is, and that the merge frees at least what it
//      writes.
//   3. A fault on a 2 MiB page costs a read for each extent of its window. When the windows have
//      too many, the fewest youngest layers are merged that mend it. Too many is more than the
//      limit, and more than twice what a merge of all would leave: data between zeros cannot be
//      joined by any merge. And the largest layer is not rewritten for this before the others have
//      a sixteenth of its blocks: else one hot window would cost the whole memory at each pause.
//      (64 extents in windows of 512 blocks on average mean about that much already, so it is the
//      hot windows, which `max_extents` is about, that have to wait.)
//
// What follows: after a compaction there are fewer than soft_layers layers, superseded blocks are
// fewer than live ones, and the mean of extents per window is at most max(mean_extents, 2 f) + 64,
// where f is what a merge of all would leave. What it costs: rule 2 writes no more than it frees,
// so no more than the diffs did; rule 3 at most 17 blocks for each block outside the largest layer;
// rule 1 rewrites a block at most log(memory / diff) / log(1 + 1/ratio) times, but for sizes that
// fall so steeply from layer to layer that the count alone forces a merge.
// merge_policy_simulation_test.cc measures all of it; docs/decisions/0007-merge-policy.md has the
// figures and what was rejected.
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
  kFull,    ///< merge all layers when there are soft_layers of them
  kTiered,  ///< merge the young layers whose size is comparable
};

/// A policy and its limits. The last three are of kTiered only.
struct PolicyLimits {
  PolicyKind kind = PolicyKind::kTiered;
  std::uint32_t soft_layers = 8;    ///< at so many layers they are merged; 2 at least
  std::uint32_t hard_layers = 32;   ///< at so many the next pause waits; soft_layers at least
  std::uint32_t size_ratio = 2;     ///< 1 to 1000
  std::uint32_t mean_extents = 64;  ///< per 2 MiB window, on average; 2 to 512
  std::uint32_t max_extents = 256;  ///< in any window; 2 to 512

  bool operator==(const PolicyLimits&) const = default;
};

/// Parses "off", "full", "tiered", the last two with limits: "full:cap=8,hard=32",
/// "tiered:soft=8,hard=32,ratio=2,mean=64,max=256", and "cap=8" as "full:cap=8". A hard limit that
/// is not given is four times the soft one. kUsage says what is wrong, and what may stand there.
Result<PolicyLimits> parse_policy(std::string_view text);

/// The text that parse_policy() makes the same limits of, all of them named.
std::string policy_text(const PolicyLimits& limits);

/// What one layer costs and what a merge of it gives back.
struct LayerLoad {
  std::uint64_t live_blocks = 0;  ///< a merge writes them
  /// Stored, but superseded: a merge frees them. 0 for a layer that other directories link, which
  /// stays on the disk whatever is merged.
  std::uint64_t dead_blocks = 0;
};

/// How many of the youngest layers of `mapping` to merge into one now: 0 for none, else at least 2.
/// `layers` has an entry for each, oldest first. O(layers + extents), and a further factor of
/// log(layers) when windows have too many extents.
/// REQUIRES: limits as parse_policy() returns them; layers.size() == mapping.layers().size().
std::size_t layers_to_merge(const PolicyLimits& limits, const Mapping& mapping,
                            std::span<const LayerLoad> layers);

/// True when a snapshot of so many layers must be merged before it is paused again.
bool must_wait(const PolicyLimits& limits, std::size_t layer_count);

}  // namespace lamina::mapping
