// Memory that is populated against how fragmented it is and how scattered what is wanted is, and
// page faults against the number of threads and of VMs.
#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "base/block.h"
#include "base/error.h"
#include "fault_contenders.h"
#include "os/machine.h"
#include "page_fault_benchmarks.h"
#include "striped_memory.h"

namespace lamina::bench {
namespace {

using Runs = std::vector<BlockRun>;

constexpr std::uint32_t kFaultCurveLayers = 8;
constexpr std::uint32_t kFaultCurveBlocks = 65536;  // 256 MiB
constexpr std::uint64_t kSpareBallast = std::uint64_t{64} << 20;

std::vector<std::uint32_t> run_lengths(const Bench& bench) {
  if (bench.options().quick) return {1, 8, 64, 512};
  return {1, 2, 4, 8, 16, 32, 64, 128, 256, 512};
}

/// One point: `runs` of `input` are populated, on a CPU of their own beside the reader's.
Status add_populating(Bench& bench, Curve& curve, double x, const FaultInput& input,
                      const Runs& runs) {
  std::vector<std::uint32_t> touches;
  for (const BlockRun& run : runs) {
    for (std::uint32_t i = 0; i < run.count; ++i) touches.push_back(run.first + i);
  }
  const FaultSetting setting{&input, &touches, placements().back(), false};
  LAMINA_ASSIGN_OR_RETURN(const auto reader, start_reader(setting));
  Comparison comparison;
  comparison.ballast_bytes = touches.size() * kBlockBytes + kSpareBallast;
  comparison.contenders = {populating("plain", setting, plain_server(), runs),
                           populating("ours", setting, session_server({}, reader), runs),
                           populating("floor", setting, floor_server(), runs)};
  return curve.add_point(bench, x, std::move(comparison));
}

Result<std::unique_ptr<FaultInput>> make_input(const std::string& directory,
                                               std::uint32_t run_blocks) {
  LAMINA_ASSIGN_OR_RETURN(
      const SnapshotChain chain,
      build_striped_chain(directory, {kFaultCurveBlocks, kFaultCurveLayers, run_blocks},
                          ChainBuilder::Plain::kNo));
  return FaultInput::create(chain.youngest, directory + "/materialized");
}

Status run_fragments(Bench& bench, const std::string& directory) {
  Curve curve{"curve/populate/extents",
              "all of 256 MiB from eight layers in turn",
              "UFFDIO_COPY by 2 MiB, from a mapping of the memory in one piece",
              "blocks per extent",
              {}};
  if (!bench.wants(curve.name)) return {};
  for (const std::uint32_t length : run_lengths(bench)) {
    LAMINA_ASSIGN_OR_RETURN(const auto input, make_input(directory, length));
    LAMINA_RETURN_IF_ERROR(add_populating(bench, curve, length, *input, {{0, kFaultCurveBlocks}}));
    LAMINA_RETURN_IF_ERROR(remove_all(directory));
  }
  bench.add(std::move(curve));
  return {};
}

Status run_scattered(Bench& bench, const std::string& directory) {
  Curve curve{"curve/populate/runs",
              "a working set of 64 MiB in runs as far apart as long",
              "UFFDIO_COPY of the same runs, from a mapping of the memory in one piece",
              "blocks per run",
              {}};
  if (!bench.wants(curve.name)) return {};
  constexpr std::uint32_t kWanted = kFaultCurveBlocks / 4;
  LAMINA_ASSIGN_OR_RETURN(const auto input,
                          make_input(directory, kFaultCurveBlocks / kFaultCurveLayers));
  for (const std::uint32_t length : run_lengths(bench)) {
    Runs runs;
    for (std::uint32_t i = 0; i < kWanted / length; ++i) runs.push_back({2 * i * length, length});
    LAMINA_RETURN_IF_ERROR(add_populating(bench, curve, length, *input, runs));
  }
  bench.add(std::move(curve));
  return remove_all(directory);
}

/// The blocks that so many threads touch; they take turns in the list.
using TouchesOfThreads = std::function<std::vector<std::uint32_t>(std::uint32_t threads)>;

/// Page faults of a guest on a CPU of its own, against the number of its threads.
Status run_touching(Bench& bench, const std::string& directory, const std::string& name,
                    const std::string& what, const TouchesOfThreads& touches_of) {
  Curve curve{
      name, what, "a bare loop that fills the same runs, straight from a mapping", "threads", {}};
  if (!bench.wants(curve.name)) return {};
  constexpr std::uint32_t kRunBlocks = 64;
  LAMINA_ASSIGN_OR_RETURN(const auto input, make_input(directory, kRunBlocks));
  for (const std::uint32_t threads : {1U, 2U, 4U, 8U, 16U, 32U}) {
    const std::vector<std::uint32_t> touches = touches_of(threads);
    const FaultSetting setting{input.get(), &touches, placements().back(), false, threads};
    Comparison comparison;
    comparison.ballast_bytes = kFaultCurveBlocks * kBlockBytes + kSpareBallast;
    comparison.contenders = {touching("plain", setting, plain_server()),
                             touching("ours", setting, session_server()),
                             touching("floor", setting, floor_server())};
    LAMINA_RETURN_IF_ERROR(curve.add_point(bench, threads, std::move(comparison)));
  }
  bench.add(std::move(curve));
  return remove_all(directory);
}

Status run_threads(Bench& bench, const std::string& directory) {
  constexpr std::uint64_t kSeed = 5;
  std::vector<std::uint32_t> fifth = blocks_shuffled(kFaultCurveBlocks, kSeed);
  fifth.resize(kFaultCurveBlocks / 5);
  return run_touching(bench, directory, "curve/fault/threads",
                      "a guest on a CPU of its own touches a fifth of 256 MiB at random",
                      [&](std::uint32_t) { return fifth; });
}

Status run_readers(Bench& bench, const std::string& directory) {
  return run_touching(
      bench, directory, "curve/fault/readers",
      "a guest on a CPU of its own reads 256 MiB, each thread its own part in order",
      [](std::uint32_t threads) {
        std::vector<std::uint32_t> touches;
        touches.reserve(kFaultCurveBlocks);
        for (std::uint32_t i = 0; i < kFaultCurveBlocks; ++i) {
          touches.push_back(i % threads * (kFaultCurveBlocks / threads) + i / threads);
        }
        return touches;
      });
}

Status run_fleets(Bench& bench, const std::string& directory) {
  Curve curve{"curve/serve/vms",
              "every VM touches a random tenth of its 64 MiB, all at once",
              "bare loops on as many threads",
              "VMs",
              {}};
  if (!bench.wants(curve.name)) return {};
  std::vector<std::size_t> counts = {1, 2, 4, 8, 16, 32, 64};
  if (bench.options().quick) counts.resize(4);
  LAMINA_ASSIGN_OR_RETURN(const auto input, make_fleet_input(directory));
  for (const std::size_t count : counts) {
    const FleetTouches touches = draw_fleet_touches(count);
    Comparison comparison;
    comparison.ballast_bytes = std::min<std::uint64_t>(count, 32) * input->memory().size();
    comparison.contenders = fleet_contenders(*input, touches);
    LAMINA_RETURN_IF_ERROR(
        curve.add_point(bench, static_cast<double>(count), std::move(comparison)));
  }
  bench.add(std::move(curve));
  return remove_all(directory);
}

}  // namespace

Status run_fault_curves(Bench& bench) {
  if (!bench.wants("curve/populate/extents") && !bench.wants("curve/populate/runs") &&
      !bench.wants("curve/fault/threads") && !bench.wants("curve/fault/readers") &&
      !bench.wants("curve/serve/vms")) {
    return {};
  }
  const os::MachineFacts machine = os::examine_machine();
  if (!machine.userfaultfd) {
    bench.skip("curve/populate", machine.userfaultfd_error);
    bench.skip("curve/fault", machine.userfaultfd_error);
    bench.skip("curve/serve", machine.userfaultfd_error);
    return {};
  }
  const std::string directory = bench.directory() + "/fault-curve";
  LAMINA_RETURN_IF_ERROR(run_fragments(bench, directory));
  LAMINA_RETURN_IF_ERROR(run_scattered(bench, directory));
  LAMINA_RETURN_IF_ERROR(run_threads(bench, directory));
  LAMINA_RETURN_IF_ERROR(run_readers(bench, directory));
  return run_fleets(bench, directory);
}

}  // namespace lamina::bench
