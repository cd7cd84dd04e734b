// A merge of all layers against their number, and against how long the runs are that move. The
// memory is all data, so the bytes that move are the same at every point.
#include <fmt/format.h>

#include <vector>

#include "base/block.h"
#include "base/error.h"
#include "bench.h"
#include "chain_benchmarks.h"
#include "loop_image.h"
#include "merge_contenders.h"
#include "striped_memory.h"

namespace lamina::bench {
namespace {

constexpr std::uint32_t kLayers = 8;
constexpr std::uint32_t kRunBlocks = 16;

/// 256 MiB, or 64 when quick.
std::uint32_t blocks_of(const Bench& bench) { return bench.options().quick ? 16384 : 65536; }

Status add_point(Bench& bench, Curve& curve, double x, const std::string& base, Sharing sharing,
                 const Stripes& stripes) {
  const std::string directory = base + "/merge-curve";
  LAMINA_ASSIGN_OR_RETURN(const SnapshotChain chain,
                          build_striped_chain(directory, stripes, ChainBuilder::Plain::kYes));
  {
    LAMINA_ASSIGN_OR_RETURN(const auto merging, MergeContenders::create(chain));
    const bool reflink = sharing == Sharing::kReflink;
    Comparison comparison;
    comparison.ballast_bytes = stripes.blocks * kBlockBytes * 5 / 4;
    comparison.contenders = {
        merging->plain(), merging->ours(),
        merging->floor("floor", sharing,
                       reflink ? MergeContenders::Sync::kPublish : MergeContenders::Sync::kYes)};
    LAMINA_RETURN_IF_ERROR(curve.add_point(bench, x, std::move(comparison)));
  }
  return remove_all(directory);
}

std::string floor_of(Sharing sharing) {
  return sharing == Sharing::kReflink
             ? "one clone call per run, and the six syncs of publishing"
             : "copy_file_range of the same runs; file and directory synced";
}

Status run_layers(Bench& bench, const std::string& base, Sharing sharing) {
  Curve curve{with_sharing("curve/merge/layers", sharing),
              fmt::format("{} MiB in runs of {} blocks become one layer, synced",
                          blocks_of(bench) >> 8, kRunBlocks),
              floor_of(sharing),
              "layers",
              {}};
  if (!bench.wants(curve.name)) return {};
  std::vector<std::uint32_t> counts = {2, 4, 8, 16, 32, 64};
  if (bench.options().quick) counts = {2, 8, 32};
  for (const std::uint32_t layers : counts) {
    LAMINA_RETURN_IF_ERROR(
        add_point(bench, curve, layers, base, sharing, {blocks_of(bench), layers, kRunBlocks}));
  }
  bench.add(std::move(curve));
  return {};
}

Status run_fragments(Bench& bench, const std::string& base, Sharing sharing) {
  Curve curve{with_sharing("curve/merge/run-length", sharing),
              fmt::format("{} MiB in {} layers become one, synced", blocks_of(bench) >> 8, kLayers),
              floor_of(sharing),
              "blocks per run",
              {}};
  if (!bench.wants(curve.name)) return {};
  std::vector<std::uint32_t> lengths = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512};
  if (bench.options().quick) lengths = {1, 8, 64, 512};
  for (const std::uint32_t length : lengths) {
    LAMINA_RETURN_IF_ERROR(
        add_point(bench, curve, length, base, sharing, {blocks_of(bench), kLayers, length}));
  }
  bench.add(std::move(curve));
  return {};
}

bool wants_merge_curve(const Bench& bench, Sharing sharing) {
  return bench.wants(with_sharing("curve/merge/layers", sharing)) ||
         bench.wants(with_sharing("curve/merge/run-length", sharing));
}

Status run_curves(Bench& bench, const std::string& base, Sharing sharing) {
  LAMINA_RETURN_IF_ERROR(run_layers(bench, base, sharing));
  return run_fragments(bench, base, sharing);
}

}  // namespace

Status run_merge_curves(Bench& bench) {
  if (wants_merge_curve(bench, Sharing::kNone)) {
    LAMINA_RETURN_IF_ERROR(run_curves(bench, bench.directory(), Sharing::kNone));
  }
  if (!wants_merge_curve(bench, Sharing::kReflink)) return {};
  const std::string base = bench.directory() + "/xfs-curve";
  // The layers, the plain reference's files and the results, twice over.
  auto image = LoopImage::create(base + ".image", base, 16 * blocks_of(bench) * kBlockBytes);
  if (!image) {
    bench.skip(with_sharing("curve/merge", Sharing::kReflink), image.error().message);
    return {};
  }
  return run_curves(bench, image->mount_point(), Sharing::kReflink);
}

}  // namespace lamina::bench
