// Ingest of a diff, adopted, against what it might depend on: the size of the memory, the data that
// the parent holds, and the share that is dirty, on which alone it should.
#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "bench.h"
#include "ingest_contenders.h"
#include "striped_memory.h"

namespace lamina::bench {
namespace {

using Base = ChainBuilder::Base;
using Plain = ChainBuilder::Plain;

constexpr const char* kFloorIs =
    "the extents walked, the data read once, ten syncs; open: the parent opened";
constexpr std::uint32_t kBlocksPerMebibyte = 256;
constexpr std::uint32_t kIngestCurveVersion = 77;
constexpr std::uint64_t kIngestCurveSeed = 5;
/// 32 MiB are dirty, where that is not what the curve is about.
constexpr std::uint32_t kIngestCurveDirtyRuns = 2048;
constexpr std::uint32_t kIngestCurveRunBlocks = 4;
/// The plain reference takes two seconds for 1 GiB, and fills the page cache with its holes.
constexpr std::uint32_t kPlainMebibytes = 1024;

Status add_point(Bench& bench, Curve& curve, double x, DiffContenders& contenders, Plain plain) {
  constexpr auto kCached = DiffContenders::Cached::kDataOnly;
  constexpr std::uint64_t kMostBallast = std::uint64_t{5} << 28;
  Comparison comparison;
  comparison.ballast_bytes = std::min(contenders.memory_bytes(), kMostBallast);
  if (plain == Plain::kYes) comparison.contenders.push_back(contenders.plain(kCached));
  comparison.contenders.push_back(contenders.ours(Layout::kAdopted, kCached));
  comparison.contenders.push_back(contenders.floor(Layout::kAdopted, kCached));
  comparison.contenders.push_back(contenders.open_parent());
  return curve.add_point(bench, x, std::move(comparison));
}

/// One point: `diff` over a parent with `memory`.
Status add_diff(Bench& bench, Curve& curve, double x, const GuestMemory& memory,
                std::vector<DirtyRun> diff) {
  const std::string directory = bench.directory() + "/ingest-curve";
  const bool is_small = memory.block_count() <= kPlainMebibytes * kBlocksPerMebibyte;
  const Plain plain = is_small ? Plain::kYes : Plain::kNo;
  LAMINA_ASSIGN_OR_RETURN(ChainBuilder builder,
                          ChainBuilder::start(directory, memory, Base::kSparse, plain));
  DiffContenders contenders(directory, builder.take(), std::move(diff));
  LAMINA_RETURN_IF_ERROR(add_point(bench, curve, x, contenders, plain));
  return remove_all(directory);
}

Status run_memory(Bench& bench) {
  constexpr std::uint32_t kDataRuns = 256;
  Curve curve{"curve/ingest/memory",
              "a diff with 32 MiB dirty in 2,048 runs, over a parent with 64 MiB of data",
              kFloorIs,
              "memory, MiB",
              {}};
  if (!bench.wants(curve.name)) return {};
  std::vector<std::uint32_t> sizes = {256, 512, 1024, 2048, 4096, 8192, 16384};
  if (bench.options().quick) sizes.resize(4);
  for (const std::uint32_t size : sizes) {
    const std::uint32_t blocks = size * kBlocksPerMebibyte;
    GuestMemory memory = GuestMemory::zeros(blocks);
    memory.apply(spread_runs(blocks, kDataRuns, 64, 1), WrittenZeros::kClear);
    LAMINA_RETURN_IF_ERROR(add_diff(
        bench, curve, size, memory,
        spread_runs(blocks, kIngestCurveDirtyRuns, kIngestCurveRunBlocks, kIngestCurveVersion)));
  }
  bench.add(std::move(curve));
  return {};
}

Status run_parent_data(Bench& bench) {
  Curve curve{"curve/ingest/parent-data",
              "a diff with 32 MiB dirty in 2,048 runs, over a parent full of data",
              kFloorIs,
              "memory and the parent's data, MiB",
              {}};
  if (!bench.wants(curve.name)) return {};
  std::vector<std::uint32_t> sizes = {64, 256, 1024, 4096};
  if (bench.options().quick) sizes.resize(3);
  for (const std::uint32_t size : sizes) {
    const std::uint32_t blocks = size * kBlocksPerMebibyte;
    LAMINA_RETURN_IF_ERROR(add_diff(
        bench, curve, size, full_of_data(blocks),
        spread_runs(blocks, kIngestCurveDirtyRuns, kIngestCurveRunBlocks, kIngestCurveVersion)));
  }
  bench.add(std::move(curve));
  return {};
}

Status run_dirty_share(Bench& bench) {
  constexpr double kPercent = 0.01;
  Curve curve{"curve/ingest/dirty",
              fmt::format("a diff of {} MiB", bench.memory_bytes() >> 20),
              kFloorIs,
              "dirty share, %",
              {}};
  if (!bench.wants(curve.name)) return {};
  std::vector<double> shares = {0.1, 0.3, 1, 3, 10, 30, 100};
  if (bench.options().quick) shares = {0.1, 1, 10, 100};
  const GuestMemory memory = full_of_data(bench.memory_blocks());
  for (const double share : shares) {
    LAMINA_RETURN_IF_ERROR(
        add_diff(bench, curve, share, memory,
                 memory.draw_diff(share * kPercent, kIngestCurveVersion, kIngestCurveSeed)));
  }
  bench.add(std::move(curve));
  return {};
}

}  // namespace

Status run_ingest_curves(Bench& bench) {
  LAMINA_RETURN_IF_ERROR(run_memory(bench));
  LAMINA_RETURN_IF_ERROR(run_parent_data(bench));
  return run_dirty_share(bench);
}

}  // namespace lamina::bench
