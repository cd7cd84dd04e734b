// Merge of a base and seven diffs into one layer.
//
// With reflink the floor is one clone call per run of the merge plan into a fresh file, without any
// sync; without, copy_file_range of the same runs. Ours is a complete merge into a new snapshot.
// "merge/copy" has the floor sync its file and the directory; "merge/copy/unsynced" compares the
// engine's copying alone with the floor, with no sync on either side.
#include <fcntl.h>
#include <fmt/format.h>

#include <memory>

#include "base/block.h"
#include "base/error.h"
#include "chain_benchmarks.h"
#include "engine/merge_data.h"
#include "floor_loops.h"
#include "lamina/merge.h"
#include "plain_reference.h"
#include "snapshot_check.h"
#include "store/snapshot_directory.h"
#include "sys/file.h"

namespace lamina::bench {
namespace {

class MergeBenchmark {
 public:
  static Result<std::unique_ptr<MergeBenchmark>> create(const SnapshotChain& chain) {
    LAMINA_ASSIGN_OR_RETURN(store::OpenSnapshot source, store::open_snapshot(chain.youngest));
    std::vector<bool> selected(source.header.mapping.layers().size() + 1, true);
    selected[mapping::kZeros] = false;
    LAMINA_ASSIGN_OR_RETURN(mapping::MergePlan plan,
                            mapping::plan_merge(source.header.mapping, selected, Uuid::random()));
    return std::unique_ptr<MergeBenchmark>(
        new MergeBenchmark(chain, std::move(source), std::move(plan)));
  }

  [[nodiscard]] std::uint64_t bytes() const { return plan_.moved_blocks * kBlockBytes; }
  [[nodiscard]] std::string description() const {
    return fmt::format("{} blocks in {} runs", plan_.moved_blocks, plan_.moves.size());
  }

  Contender plain() {
    return {"plain",
            {},
            [this]() -> Status {
              LAMINA_ASSIGN_OR_RETURN(
                  plain_result_, plain_merge(chain_.plain_header, chain_.plain_files, plain_out_));
              return {};
            },
            [this] {
              return check_plain(plain_result_,
                                 {{plain_result_.build_id.to_string(), plain_out_.data}},
                                 chain_.plain_memory);
            },
            [this] { return remove_all(plain_out_.data); }};
  }

  Contender ours() {
    return {"ours",
            {},
            [this]() -> Status {
              MergeOptions options;
              options.snapshot = chain_.youngest;
              options.out = merged_;
              LAMINA_RETURN_IF_ERROR(merge(options));
              return {};
            },
            [this] { return check_snapshot(merged_, chain_.memory); },
            [this] { return remove_all(merged_); }};
  }

  /// The engine's part alone: no trailer, no header, no sync.
  Contender engine_alone(const std::string& name) {
    return {name,
            {},
            [this]() -> Status {
              LAMINA_ASSIGN_OR_RETURN(
                  const sys::Fd file,
                  sys::open_at(AT_FDCWD, target_, O_RDWR | O_CREAT | O_EXCL, target_));
              engine::MergeTarget target;
              target.destination = file.get();
              target.path = target_;
              LAMINA_RETURN_IF_ERROR(engine::merge_data(source_.chain, plan_.moves, target));
              return {};
            },
            {},
            [this] { return remove_all(target_); }};
  }

  enum class Sync : std::uint8_t { kNo, kYes };
  Contender floor(const std::string& name, Sharing sharing, Sync sync) {
    return {name,
            {},
            [this, sharing, sync]() -> Status {
              LAMINA_RETURN_IF_ERROR(sharing == Sharing::kReflink
                                         ? clone_moves(source_.chain, plan_.moves, target_)
                                         : copy_moves(source_.chain, plan_.moves, target_));
              return sync == Sync::kYes ? sync_with_parent(target_) : Status{};
            },
            {},
            [this] { return remove_all(target_); }};
  }

 private:
  MergeBenchmark(const SnapshotChain& chain, store::OpenSnapshot source, mapping::MergePlan plan)
      : chain_(chain),
        source_(std::move(source)),
        plan_(std::move(plan)),
        target_(chain.directory + "/merged"),
        merged_(chain.store + "/merged"),
        plain_out_{chain.directory + "/plain-merged", chain.directory + "/plain-merged.header"} {}

  const SnapshotChain& chain_;
  store::OpenSnapshot source_;
  mapping::MergePlan plan_;
  std::string target_;
  std::string merged_;
  PlainPaths plain_out_;
  PlainHeader plain_result_;
};

}  // namespace

Status run_merge(Bench& bench, const SnapshotChain& chain, Sharing sharing) {
  using Sync = MergeBenchmark::Sync;
  LAMINA_ASSIGN_OR_RETURN(const auto merging, MergeBenchmark::create(chain));
  Comparison comparison;
  comparison.name = with_sharing("merge", sharing);
  comparison.what = "a base and seven diffs become one layer in a new snapshot, synced";
  comparison.bytes = merging->bytes();
  comparison.ballast_bytes = bench.memory_bytes() + bench.memory_bytes() / 4;
  if (sharing == Sharing::kReflink) {
    comparison.floor_is = "one clone call per run into a fresh file, no sync";
    comparison.budget = {.ours_over_floor = 1.2, .plain_over_ours = 30.0, .ours_ms = {}};
    comparison.contenders = {merging->plain(), merging->ours(),
                             merging->floor("floor", sharing, Sync::kNo),
                             merging->floor("floor, synced", sharing, Sync::kYes),
                             merging->engine_alone("ours, data only")};
  } else {
    comparison.floor_is = "copy_file_range of the same runs; the file and its directory synced";
    comparison.budget.ours_over_floor = 1.25;
    comparison.contenders = {merging->plain(), merging->ours(),
                             merging->floor("floor", sharing, Sync::kYes)};
  }
  if (bench.wants(comparison.name)) {
    LAMINA_RETURN_IF_ERROR(bench.run(comparison));
    bench.note(merging->description());
  }
  if (sharing == Sharing::kReflink || !bench.wants("merge/copy/unsynced")) return {};
  comparison.name = "merge/copy/unsynced";
  comparison.what = "the data of the same merge, no sync";
  comparison.floor_is = "copy_file_range of the same runs, no sync";
  comparison.contenders = {merging->plain(), merging->engine_alone("ours"),
                           merging->floor("floor", sharing, Sync::kNo)};
  return bench.run(comparison);
}

}  // namespace lamina::bench
