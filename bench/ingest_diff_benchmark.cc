// Ingest of a diff, 3 % dirty, over a parent.
//
// "fresh" is as after a pause; "cached" has had its holes read before (ingest_contenders.h). The
// floor walks the extents, reads the data once and does the same syncs.
#include <fmt/format.h>

#include "base/error.h"
#include "bench.h"
#include "ingest_contenders.h"
#include "snapshot_chain.h"

namespace lamina::bench {
namespace {

using Cached = DiffContenders::Cached;

constexpr std::uint64_t kIngestDiffSeed = 2;
constexpr std::uint32_t kIngestDiffVersion = 77;

Status compare(Bench& bench, const std::string& name, DiffContenders& contenders, Layout layout,
               Cached cached, double plain_budget) {
  if (!bench.wants(name)) return {};
  const bool adopts = layout == Layout::kAdopted;
  Comparison comparison;
  comparison.name = name;
  comparison.what = fmt::format("a diff with 3 % dirty {} a layer, synced",
                                adopts ? "becomes" : "is copied into");
  comparison.floor_is = fmt::format("the extents walked, the data read{} once, {} syncs",
                                    adopts ? "" : " and written", adopts ? 10 : 7);
  comparison.budget.ours_over_floor = 2.0;
  if (plain_budget > 0) comparison.budget.plain_over_ours = plain_budget;
  comparison.bytes = bench.memory_bytes();
  comparison.ballast_bytes = bench.memory_bytes() + bench.memory_bytes() / 4;
  comparison.contenders = {contenders.plain(cached), contenders.ours(layout, cached),
                           contenders.floor(layout, cached), contenders.walk_and_read(cached)};
  return bench.run(comparison);
}

}  // namespace

Status run_ingest_diff(Bench& bench) {
  if (!bench.wants("ingest/diff/adopted/fresh") && !bench.wants("ingest/diff/adopted/cached") &&
      !bench.wants("ingest/diff/compact/fresh")) {
    return {};
  }
  const std::string directory = bench.directory() + "/ingest-diff";
  LAMINA_ASSIGN_OR_RETURN(SnapshotChain parent, build_chain(directory, bench.memory_blocks(), 0));
  auto diff = parent.memory.draw_diff(kDirtyFraction, kIngestDiffVersion, kIngestDiffSeed);
  DiffContenders contenders(directory, std::move(parent), std::move(diff));
  LAMINA_RETURN_IF_ERROR(compare(bench, "ingest/diff/adopted/fresh", contenders, Layout::kAdopted,
                                 Cached::kDataOnly, 100));
  LAMINA_RETURN_IF_ERROR(compare(bench, "ingest/diff/adopted/cached", contenders, Layout::kAdopted,
                                 Cached::kHolesToo, 15));
  LAMINA_RETURN_IF_ERROR(compare(bench, "ingest/diff/compact/fresh", contenders, Layout::kCompact,
                                 Cached::kDataOnly, 0));
  if (bench.wants("ingest/diff/compact/fresh")) bench.note(contenders.description());
  return remove_all(directory);
}

}  // namespace lamina::bench
