#include "merge_contenders.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <utility>
#include <vector>

#include "base/block.h"
#include "base/error.h"
#include "engine/merge_data.h"
#include "floor_loops.h"
#include "lamina/merge.h"
#include "os/file.h"
#include "snapshot_check.h"

namespace lamina::bench {

Result<std::unique_ptr<MergeContenders>> MergeContenders::create(const SnapshotChain& chain) {
  LAMINA_ASSIGN_OR_RETURN(store::OpenSnapshot source, store::open_snapshot(chain.youngest));
  std::vector<bool> selected(source.header.mapping.layers().size() + 1, true);
  selected[mapping::kZeros] = false;
  LAMINA_ASSIGN_OR_RETURN(mapping::MergePlan plan,
                          mapping::plan_merge(source.header.mapping, selected, Uuid::random()));
  return std::unique_ptr<MergeContenders>(
      new MergeContenders(chain, std::move(source), std::move(plan)));
}

MergeContenders::MergeContenders(const SnapshotChain& chain, store::OpenSnapshot source,
                                 mapping::MergePlan plan)
    : chain_(chain),
      source_(std::move(source)),
      plan_(std::move(plan)),
      target_(chain.directory + "/merged"),
      sync_store_(chain.directory + "/sync-store"),
      merged_(chain.store + "/merged"),
      plain_out_{chain.directory + "/plain-merged", chain.directory + "/plain-merged.header"} {}

std::uint64_t MergeContenders::bytes() const { return plan_.moved_blocks * kBlockBytes; }

std::string MergeContenders::description() const {
  return fmt::format("{} blocks in {} runs", plan_.moved_blocks, plan_.moves.size());
}

Contender MergeContenders::plain() {
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

Contender MergeContenders::ours() {
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

Contender MergeContenders::engine_alone(const std::string& name) {
  return {name,
          {},
          [this]() -> Status {
            LAMINA_ASSIGN_OR_RETURN(
                const os::Fd file,
                os::open_at(AT_FDCWD, target_, O_RDWR | O_CREAT | O_EXCL, target_));
            engine::MergeTarget target;
            target.destination = file.get();
            target.path = target_;
            LAMINA_RETURN_IF_ERROR(engine::merge_data(source_.chain, plan_.moves, target));
            return {};
          },
          {},
          [this] { return remove_all(target_); }};
}

Contender MergeContenders::floor(const std::string& name, Sharing sharing, Sync sync) {
  return {name,
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

Status MergeContenders::publish() {
  constexpr std::uint64_t kExtentBytes = 10;
  SyncPattern pattern;
  pattern.sizes = {plan_.moved_blocks * sizeof(std::uint64_t),
                   plan_.mapping.extent_count() * kExtentBytes};
  return do_ingest_syncs(sync_store_, target_, pattern);
}

}  // namespace lamina::bench
