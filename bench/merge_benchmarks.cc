// Merge of a base and seven diffs into one layer.
//
// Ours is a complete merge into a new snapshot. With reflink the floor is one clone call per run of
// the merge plan into a fresh file and the syncs of publishing it; "merge/reflink/unsynced"
// compares the engine's part alone with the clone calls alone. Without reflink the floor is
// copy_file_range of the same runs; "merge/copy" has it sync its file and the directory,
// "merge/copy/unsynced" again compares the parts alone. (No budget against the plain reference with
// reflink: a clone call costs as much as moving a few blocks, so the floor itself is only a few
// times faster where runs are short.)
#include "base/error.h"
#include "chain_benchmarks.h"
#include "file_cache.h"
#include "merge_contenders.h"

namespace lamina::bench {
namespace {

/// With nothing of the store in the page cache: what it is for a VM that has been paused for long.
Status run_cold(Bench& bench, const SnapshotChain& chain, MergeContenders& merging,
                Comparison comparison) {
  comparison.name += "/cold";
  if (!bench.wants(comparison.name)) return {};
  comparison.what += "; nothing is cached before";
  comparison.budget = {};
  comparison.ballast_bytes = 0;
  comparison.contenders = {merging.plain(), merging.ours(),
                           merging.floor("floor", Sharing::kNone, MergeContenders::Sync::kYes)};
  for (Contender& contender : comparison.contenders) {
    contender.prepare = [prepare = contender.prepare, &chain]() -> Status {
      if (prepare) LAMINA_RETURN_IF_ERROR(prepare());
      return drop_cache(chain.directory);
    };
  }
  return bench.run(comparison);
}

}  // namespace

Status run_merge(Bench& bench, const SnapshotChain& chain, Sharing sharing) {
  using Sync = MergeContenders::Sync;
  LAMINA_ASSIGN_OR_RETURN(const auto merging, MergeContenders::create(chain));
  Comparison comparison;
  comparison.name = with_sharing("merge", sharing);
  comparison.what = "a base and seven diffs become one layer in a new snapshot, synced";
  comparison.bytes = merging->bytes();
  comparison.ballast_bytes = bench.memory_bytes() + bench.memory_bytes() / 4;
  const bool reflink = sharing == Sharing::kReflink;
  comparison.budget.ours_over_floor = reflink ? 1.2 : 1.25;
  comparison.floor_is = reflink ? "one clone call per run, and the six syncs of publishing"
                                : "copy_file_range of the same runs; file and directory synced";
  comparison.contenders = {merging->plain(), merging->ours(),
                           merging->floor("floor", sharing, reflink ? Sync::kPublish : Sync::kYes)};
  if (bench.wants(comparison.name)) {
    LAMINA_RETURN_IF_ERROR(bench.run(comparison));
    bench.note(merging->description());
  }
  if (!reflink) LAMINA_RETURN_IF_ERROR(run_cold(bench, chain, *merging, comparison));
  comparison.name += "/unsynced";
  if (!bench.wants(comparison.name)) return {};
  comparison.what = "the data of the same merge, no sync";
  // Ours hands what it copies to the disk on the way, which pays at the sync only.
  if (!reflink) comparison.budget = {};
  comparison.floor_is =
      reflink ? "one clone call per run, no sync" : "copy_file_range of the same runs, no sync";
  comparison.contenders = {merging->plain(), merging->engine_alone("ours"),
                           merging->floor("floor", sharing, Sync::kNo)};
  return bench.run(comparison);
}

}  // namespace lamina::bench
