// Ingest of a diff, 3 % dirty, over a parent.
//
// The diff is as the VMM leaves it, made anew for every run: the dirty pages written and synced
// (cached, therefore), the holes never read. A program that reads block by block fills the page
// cache with zero pages for all the holes; "cached" measures the same with that already done. The
// floor walks the extents, reads the data once and does the same syncs.
#include <fmt/format.h>

#include "base/block.h"
#include "base/error.h"
#include "bench.h"
#include "floor_loops.h"
#include "lamina/ingest.h"
#include "plain_reference.h"
#include "snapshot_chain.h"
#include "snapshot_check.h"

namespace lamina::bench {
namespace {

constexpr std::uint64_t kSeed = 2;
constexpr std::uint32_t kVersion = 77;

struct Inputs {
  std::string directory;
  SnapshotChain parent;
  std::vector<DirtyRun> diff;
  GuestMemory memory;
  GuestMemory plain_memory;
  SyncPattern syncs;

  [[nodiscard]] std::string memory_file() const { return directory + "/memory"; }
  [[nodiscard]] std::string snapshot() const { return parent.store + "/diff"; }
  [[nodiscard]] std::string sync_store() const { return directory + "/syncs"; }
};

enum class Cached : std::uint8_t { kDataOnly, kHolesToo };

Status write_input(const Inputs& inputs, Cached cached) {
  LAMINA_RETURN_IF_ERROR(remove_all(inputs.memory_file()));
  LAMINA_RETURN_IF_ERROR(
      write_diff_file(inputs.memory_file(), inputs.memory.block_count(), inputs.diff));
  return cached == Cached::kHolesToo ? read_whole_file(inputs.memory_file()) : Status{};
}

Status compare(Bench& bench, const std::string& name, const Inputs& inputs, Layout layout,
               Cached cached, double plain_budget) {
  if (!bench.wants(name)) return {};
  IngestOptions options;
  options.memory_file = inputs.memory_file();
  options.snapshot = inputs.snapshot();
  options.parent = inputs.parent.youngest;
  options.layout = layout;
  const PlainPaths plain{inputs.directory + "/plain", inputs.directory + "/plain.header"};
  const Uuid build = Uuid::random();
  PlainHeader plain_header;
  const bool adopts = layout == Layout::kAdopted;
  SyncPattern syncs = inputs.syncs;
  syncs.adopts = adopts;
  const std::string copy = inputs.directory + "/copy";
  const auto prepare = [&] { return write_input(inputs, cached); };

  Comparison comparison;
  comparison.name = name;
  comparison.what = fmt::format("a diff with {} dirty {} a layer, synced", "3 %",
                                adopts ? "becomes" : "is copied into");
  comparison.floor_is = fmt::format("the extents walked, the data read{} once, {} syncs",
                                    adopts ? "" : " and written", adopts ? 10 : 7);
  comparison.budget.ours_over_floor = 2.0;
  if (plain_budget > 0) comparison.budget.plain_over_ours = plain_budget;
  comparison.bytes = bench.memory_bytes();
  comparison.ballast_bytes = bench.memory_bytes() + bench.memory_bytes() / 4;
  comparison.contenders = {
      {"plain", prepare,
       [&]() -> Status {
         LAMINA_ASSIGN_OR_RETURN(
             plain_header,
             plain_ingest_diff(inputs.memory_file(), plain, inputs.parent.plain_header, build));
         return {};
       },
       [&] {
         auto files = inputs.parent.plain_files;
         files[build.to_string()] = plain.data;
         return check_plain(plain_header, files, inputs.plain_memory);
       },
       [&] { return remove_all(plain.data); }},
      {"ours", prepare,
       [&]() -> Status {
         LAMINA_RETURN_IF_ERROR(ingest(options));
         return {};
       },
       [&] { return check_snapshot(inputs.snapshot(), inputs.memory); },
       [&] { return remove_all(inputs.snapshot()); }},
      {"floor",
       [&]() -> Status {
         LAMINA_RETURN_IF_ERROR(prepare());
         return make_sync_store(inputs.sync_store());
       },
       [&]() -> Status {
         if (!adopts) {
           LAMINA_RETURN_IF_ERROR(copy_data_extents(inputs.memory_file(), copy));
           return do_ingest_syncs(inputs.sync_store(), copy, syncs);
         }
         LAMINA_RETURN_IF_ERROR(read_data_extents(inputs.memory_file()));
         return do_ingest_syncs(inputs.sync_store(), inputs.memory_file(), syncs);
       },
       {},
       [&] { return remove_all(inputs.sync_store()); }},
      {"walk and read", prepare, [&] { return read_data_extents(inputs.memory_file()); }, {}, {}},
  };
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
  auto diff = parent.memory.draw_diff(kDirtyFraction, kVersion, kSeed);
  GuestMemory memory = parent.memory;
  memory.apply(diff, WrittenZeros::kClear);
  GuestMemory plain_memory = parent.memory;
  plain_memory.apply(diff, WrittenZeros::kInherit);
  SyncPattern syncs;
  syncs.probes_holes = true;
  syncs.memory_bytes = bench.memory_bytes();
  std::uint64_t blocks = 0;
  for (const DirtyRun& run : diff) blocks += run.block_count;
  syncs.sizes = {blocks * 8 + diff.size() * 8, diff.size() * 20};
  const std::string note = fmt::format("{} dirty blocks in {} runs", blocks, diff.size());
  const Inputs inputs{directory,         std::move(parent),       std::move(diff),
                      std::move(memory), std::move(plain_memory), syncs};

  LAMINA_RETURN_IF_ERROR(compare(bench, "ingest/diff/adopted/fresh", inputs, Layout::kAdopted,
                                 Cached::kDataOnly, 100));
  LAMINA_RETURN_IF_ERROR(compare(bench, "ingest/diff/adopted/cached", inputs, Layout::kAdopted,
                                 Cached::kHolesToo, 15));
  LAMINA_RETURN_IF_ERROR(
      compare(bench, "ingest/diff/compact/fresh", inputs, Layout::kCompact, Cached::kDataOnly, 0));
  bench.note(note);
  return remove_all(directory);
}

}  // namespace lamina::bench
