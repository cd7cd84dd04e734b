// Memory that is filled without a fault asking for it: all of it, from a chain, a dense snapshot or
// zeros, and a recorded working set. Nobody faults meanwhile; the server is alone on its CPU.
#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <random>

#include "base/block.h"
#include "base/error.h"
#include "fault_contenders.h"
#include "guest_memory.h"
#include "lamina/ingest.h"
#include "page_fault_benchmarks.h"
#include "snapshot_chain.h"

namespace lamina::bench {
namespace {

using Runs = std::vector<BlockRun>;

constexpr std::uint64_t kPopulateSeed = 11;
/// "85 % of the bare rate" as times.
constexpr double kPopulateBudget = 1 / 0.85;
constexpr double kZeroBytesPerMs = 20e6;
constexpr double kWorkingSetBudget = 1.25;

/// A tenth of the memory that has data, in runs of 1 to 32 blocks in random order.
Runs draw_working_set(const FaultInput& input) {
  constexpr std::uint32_t kLongest = 32;
  std::mt19937_64 random(kPopulateSeed);
  Runs runs;
  std::uint32_t wanted = input.block_count() / 10;
  for (const std::uint32_t number :
       blocks_shuffled(input.block_count() / kLongest, kPopulateSeed)) {
    const std::uint32_t block = number * kLongest;
    if (input.is_zero(block) || wanted == 0) continue;
    const auto drawn = static_cast<std::uint32_t>(1 + random() % kLongest);
    const std::uint32_t count = std::min({drawn, input.run_end(block) - block, wanted});
    runs.push_back({block, count});
    wanted -= count;
  }
  return runs;
}

std::vector<std::uint32_t> blocks_of(const Runs& runs) {
  std::vector<std::uint32_t> blocks;
  for (const BlockRun& run : runs) {
    for (std::uint32_t i = 0; i < run.count; ++i) blocks.push_back(run.first + i);
  }
  return blocks;
}

Comparison comparison_of(const std::string& name, const FaultInput& input, std::uint64_t bytes) {
  Comparison comparison;
  comparison.name = name;
  comparison.bytes = bytes;
  comparison.ballast_bytes = input.memory().size() + (std::uint64_t{64} << 20);
  return comparison;
}

Status measure_all(Bench& bench, const std::string& name, const FaultInput& input) {
  if (!bench.wants(name)) return {};
  const auto touches = blocks_in_order(input.block_count());
  const FaultSetting setting{&input, &touches, placements().back(), false};
  const Runs all = {{0, input.block_count()}};
  LAMINA_ASSIGN_OR_RETURN(const auto reader, start_reader(setting));
  Comparison comparison = comparison_of(name, input, input.memory().size());
  comparison.what = "all of the memory, 2 MiB at a time";
  comparison.floor_is = "one ioctl for each run of data or zeros, from a mapping, up to 2 MiB";
  comparison.budget.ours_over_floor = kPopulateBudget;
  comparison.contenders = {populating("plain", setting, plain_server(), all),
                           populating("ours", setting, session_server({}, reader), all),
                           populating("floor", setting, floor_server(), all),
                           populating("alone", setting, session_server(), all),
                           populating("read", setting, floor_server({}, FloorSource::kRead), all)};
  LAMINA_RETURN_IF_ERROR(bench.run(comparison));
  bench.note(fmt::format("{} of {} blocks have data, {} layers", input.data_blocks(),
                         input.block_count(), input.chain().layers().size()));
  return {};
}

Status measure_zeros(Bench& bench, const FaultInput& input) {
  const auto touches = blocks_in_order(input.block_count());
  const FaultSetting setting{&input, &touches, placements().back(), false};
  const Runs all = {{0, input.block_count()}};
  LAMINA_ASSIGN_OR_RETURN(const auto reader, start_reader(setting));
  Comparison comparison = comparison_of("populate/zeros", input, input.memory().size());
  comparison.what = "a memory of zeros, 2 MiB at a time";
  comparison.floor_is = "UFFDIO_ZEROPAGE of 2 MiB";
  comparison.budget.ours_ms = static_cast<double>(input.memory().size()) / kZeroBytesPerMs;
  comparison.contenders = {populating("ours", setting, session_server({}, reader), all),
                           populating("floor", setting, floor_server(), all)};
  return bench.run(comparison);
}

Status measure_working_set(Bench& bench, const FaultInput& input, const FaultInput& dense) {
  const Runs runs = draw_working_set(input);
  const auto touches = blocks_of(runs);
  const FaultSetting setting{&input, &touches, placements().back(), false};
  // The same bytes in one piece, from a memory without zeros.
  const Runs in_one_piece = {{0, static_cast<std::uint32_t>(touches.size())}};
  const auto first_touches = blocks_in_order(static_cast<std::uint32_t>(touches.size()));
  const FaultSetting dense_setting{&dense, &first_touches, placements().back(), false};
  LAMINA_ASSIGN_OR_RETURN(const auto reader, start_reader(setting));
  Comparison comparison =
      comparison_of("populate/working-set", input, touches.size() * kBlockBytes);
  comparison.what = "a recorded working set of a tenth of the memory, in random order";
  comparison.floor_is = "UFFDIO_COPY of as many bytes by 2 MiB, from a mapping";
  comparison.budget.ours_over_floor = kWorkingSetBudget;
  comparison.contenders = {populating("plain", setting, plain_server(), runs),
                           populating("ours", setting, session_server({}, reader), runs),
                           populating("floor", dense_setting, floor_server(), in_one_piece),
                           populating("alone", setting, session_server(), runs),
                           populating("same runs", setting, floor_server(), runs),
                           populating("read", setting, floor_server({}, FloorSource::kRead), runs)};
  LAMINA_RETURN_IF_ERROR(bench.run(comparison));
  bench.note(fmt::format("{} blocks in {} runs", touches.size(), runs.size()));
  const auto ratio = bench.measurements().back().ratio("ours", "same runs");
  if (ratio) bench.note(fmt::format("ours / bare UFFDIO_COPY of the same runs: {:.2f}", *ratio));
  return {};
}

/// Every block has data.
std::vector<DirtyRun> all_data(const Bench& bench) {
  constexpr std::uint32_t kPiece = 4096;
  std::vector<DirtyRun> runs;
  for (std::uint32_t block = 0; block < bench.memory_blocks(); block += kPiece) {
    runs.push_back({block, kPiece, 1});
  }
  return runs;
}

Result<std::unique_ptr<FaultInput>> ingest_input(const std::string& directory,
                                                 const std::string& memory_file,
                                                 const std::string& name) {
  IngestOptions options;
  options.memory_file = memory_file;
  options.snapshot = directory + "/" + name;
  options.layout = Layout::kAdopted;
  LAMINA_RETURN_IF_ERROR(ingest(options));
  return FaultInput::create(options.snapshot, directory + "/" + name + ".memory");
}

}  // namespace

Status run_populate(Bench& bench, const FaultInput& input, const std::string& directory) {
  LAMINA_RETURN_IF_ERROR(measure_all(bench, "populate/chain", input));
  const std::string memory_file = directory + "/next";
  if (bench.wants("populate/dense") || bench.wants("populate/working-set")) {
    LAMINA_RETURN_IF_ERROR(write_diff_file(memory_file, bench.memory_blocks(), all_data(bench)));
    LAMINA_ASSIGN_OR_RETURN(const auto dense, ingest_input(directory, memory_file, "dense"));
    LAMINA_RETURN_IF_ERROR(measure_all(bench, "populate/dense", *dense));
    if (bench.wants("populate/working-set")) {
      LAMINA_RETURN_IF_ERROR(measure_working_set(bench, input, *dense));
    }
  }
  if (!bench.wants("populate/zeros")) return {};
  LAMINA_RETURN_IF_ERROR(write_diff_file(memory_file, bench.memory_blocks(), {}));
  LAMINA_ASSIGN_OR_RETURN(const auto zeros, ingest_input(directory, memory_file, "zeros"));
  return measure_zeros(bench, *zeros);
}

}  // namespace lamina::bench
