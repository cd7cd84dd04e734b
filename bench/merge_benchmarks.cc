// Merge of a base and seven diffs into one layer.
//
// Ours is a complete merge into a new snapshot. With reflink the floor is one clone call per run of
// the merge plan into a fresh file and the syncs of publishing it; "merge/reflink/unsynced"
// compares the engine's part alone with the clone calls alone. Without reflink the floor is
// copy_file_range of the same runs; "merge/copy" has it sync its file and the directory,
// "merge/copy/unsynced" again compares the parts alone. (No budget against the plain reference with
// reflink: a clone call costs as much as moving a few blocks, so the floor itself is only a few
// times faster where runs are short.)
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

  enum class Sync : std::uint8_t { kNo, kYes, kPublish };
  Contender floor(const std::string& name, Sharing sharing, Sync sync) {
    return {
        name,
        [this, sync] { return sync == Sync::kPublish ? make_sync_store(sync_store_) : Status{}; },
        [this, sharing, sync]() -> Status {
          LAMINA_RETURN_IF_ERROR(sharing == Sharing::kReflink
                                     ? clone_moves(source_.chain, plan_.moves, target_)
                                     : copy_moves(source_.chain, plan_.moves, target_));
          if (sync == Sync::kYes) return sync_with_parent(target_);
          return sync == Sync::kPublish ? publish() : Status{};
        },
        {},
        [this]() -> Status {
          LAMINA_RETURN_IF_ERROR(remove_all(sync_store_));
          return remove_all(target_);
        }};
  }

 private:
  /// The six syncs of publishing a compact layer.
  Status publish() {
    constexpr std::uint64_t kExtentBytes = 10;
    SyncPattern pattern;
    pattern.sizes = {plan_.moved_blocks * sizeof(std::uint64_t),
                     plan_.mapping.extent_count() * kExtentBytes};
    return do_ingest_syncs(sync_store_, target_, pattern);
  }

  MergeBenchmark(const SnapshotChain& chain, store::OpenSnapshot source, mapping::MergePlan plan)
      : chain_(chain),
        source_(std::move(source)),
        plan_(std::move(plan)),
        target_(chain.directory + "/merged"),
        sync_store_(chain.directory + "/sync-store"),
        merged_(chain.store + "/merged"),
        plain_out_{chain.directory + "/plain-merged", chain.directory + "/plain-merged.header"} {}

  const SnapshotChain& chain_;
  store::OpenSnapshot source_;
  mapping::MergePlan plan_;
  std::string target_;
  std::string sync_store_;
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
  comparison.name += "/unsynced";
  if (!bench.wants(comparison.name)) return {};
  comparison.what = "the data of the same merge, no sync";
  comparison.floor_is =
      reflink ? "one clone call per run, no sync" : "copy_file_range of the same runs, no sync";
  comparison.contenders = {merging->plain(), merging->engine_alone("ours"),
                           merging->floor("floor", sharing, Sync::kNo)};
  return bench.run(comparison);
}

}  // namespace lamina::bench
