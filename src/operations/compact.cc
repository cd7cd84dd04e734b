// The policy decides (mapping/merge_policy.h), merge() merges. What is here is the way between
// them: what the layers' files say, and what to do when another writer comes in between.
#include "lamina/compact.h"

#include <fcntl.h>

#include <algorithm>
#include <optional>

#include "base/block.h"
#include "base/contain.h"
#include "base/error.h"
#include "lamina/merge.h"
#include "mapping/merge_policy.h"
#include "mapping/overlay.h"
#include "mapping/statistics.h"
#include "operations/pace.h"
#include "operations/with_store.h"
#include "os/clock.h"
#include "os/directory.h"
#include "os/priority.h"
#include "os/thread.h"
#include "store/name.h"
#include "store/snapshot_directory.h"

namespace lamina {
namespace {

using mapping::LayerLoad;
using mapping::PolicyKind;
using mapping::PolicyLimits;
using store::OpenSnapshot;

/// How often a merge is begun before it is dropped.
constexpr std::uint32_t kAttempts = 4;

/// Between the first two; twice as long each time. A pause takes some ten milliseconds.
constexpr std::uint64_t kFirstDelayNs = 50'000'000;

std::vector<LayerLoad> loads_of(const OpenSnapshot& snapshot) {
  const mapping::Statistics statistics = mapping::statistics_of(snapshot.header.mapping);
  std::vector<LayerLoad> loads;
  for (std::size_t i = 0; i < snapshot.chain.layers().size(); ++i) {
    const engine::Layer& layer = snapshot.chain.layers()[i];
    const std::uint64_t live = statistics.layers[i + 1].live_blocks;
    const std::uint64_t stored = layer.stored_blocks();
    // What others link stays on the disk: a merge frees none of it.
    const bool shared = layer.facts().link_count > 1;
    loads.push_back({live, shared ? 0 : stored - std::min(stored, live)});
  }
  return loads;
}

class Compact {
 public:
  Compact(const store::StoreSource& stores, const CompactOptions& options)
      : stores_(stores), options_(options) {}

  Result<CompactReport> run() { return report_or_error(work(), report_); }

 private:
  Status work() {
    LAMINA_ASSIGN_OR_RETURN(limits_, mapping::parse_policy(options_.policy));
    LAMINA_ASSIGN_OR_RETURN(const store::SnapshotPath path,
                            store::parse_snapshot_path(options_.snapshot));
    report_.snapshot = path.path;
    report_.policy = mapping::policy_text(limits_);
    if (options_.background && !options_.dry_run) {
      if (const Status low = os::become_background_thread(); !low) {
        report_.notes.push_back(
            fmt::format("the merge runs at normal priority: {}", low.error().message));
      }
    }
    LAMINA_RETURN_IF_ERROR(merge_until_done());
    report_.next_pause_must_wait = mapping::must_wait(limits_, report_.layers_after);
    return {};
  }

  Status merge_until_done() {
    std::uint64_t delay_ns = kFirstDelayNs;
    while (true) {
      LAMINA_ASSIGN_OR_RETURN(const OpenSnapshot snapshot,
                              store::open_snapshot(options_.snapshot, engine::Checksums::kSkip));
      LAMINA_RETURN_IF_ERROR(plan(snapshot));
      if (report_.outcome != CompactOutcome::kPlanned || options_.dry_run) return {};
      const Status merged = merge_as_planned(snapshot.header.build_id);
      if (merged || merged.error().kind != ErrorKind::kBusy) return merged;
      if (report_.attempts == kAttempts) {
        report_.notes.push_back(fmt::format("the merge was dropped: {}", merged.error().message));
        return drop();
      }
      if (options_.progress != nullptr && options_.progress->interrupted()) {
        return fail(ErrorKind::kInterrupted, "interrupted");
      }
      os::sleep_until(os::monotonic_ns() + delay_ns);
      delay_ns *= 2;
    }
  }

  /// Fills the report with what the merge that the policy wants would do.
  Status plan(const OpenSnapshot& snapshot) {
    const mapping::Mapping& mapping = snapshot.header.mapping;
    const std::size_t count = mapping.layers().size();
    report_.outcome = CompactOutcome::kNothing;
    report_.pause_id = snapshot.pause_id;
    report_.layers_before = report_.layers_after = static_cast<std::uint32_t>(count);
    report_.merged_layers = 0;
    report_.read_bytes = report_.written_bytes = 0;
    report_.freed_bytes = report_.duplicated_bytes = 0;
    PolicyLimits limits = limits_;
    // Which are the youngest is not known: all or none.
    if (!snapshot.layer_order_known && limits.kind == PolicyKind::kTiered) {
      limits.kind = PolicyKind::kFull;
    }
    const std::size_t youngest = mapping::layers_to_merge(limits, mapping, loads_of(snapshot));
    if (youngest == 0) return {};

    report_.outcome = CompactOutcome::kPlanned;
    report_.merged_layers = static_cast<std::uint32_t>(youngest);
    std::vector<bool> selected(count + 1, false);
    for (std::size_t i = count - youngest + 1; i <= count; ++i) {
      selected[i] = true;
      const os::FileFacts& facts =
          snapshot.chain.layer(static_cast<mapping::LayerIndex>(i)).facts();
      (facts.link_count > 1 ? report_.duplicated_bytes : report_.freed_bytes) +=
          facts.allocated_bytes;
    }
    LAMINA_ASSIGN_OR_RETURN(const mapping::MergePlan plan,
                            mapping::plan_merge(mapping, selected, Uuid::random()));
    report_.layers_after = static_cast<std::uint32_t>(plan.mapping.layers().size());
    report_.read_bytes = report_.written_bytes = plan.moved_blocks * kBlockBytes;
    return {};
  }

  /// Merges what was planned from the build `planned`; kBusy when it is not there any more.
  Status merge_as_planned(const Uuid& planned) {
    ++report_.attempts;
    std::optional<operations::PacedProgress> paced;
    MergeOptions merging;
    merging.snapshot = options_.snapshot;
    merging.layers = report_.merged_layers;
    merging.only_build = planned;
    merging.progress = options_.progress;
    if (options_.rate_limit_bytes_s > 0) {
      paced.emplace(options_.progress, options_.rate_limit_bytes_s, operations::PaceClock::real());
      merging.progress = &*paced;
    }
    auto merged = operations::merge(stores_, merging);
    std::vector<std::string>& notes = merged ? merged->notes : merged.error().notes;
    report_.notes.insert(report_.notes.end(), notes.begin(), notes.end());
    if (!merged) return std::unexpected(Error{merged.error().kind, merged.error().message});
    report_.outcome = CompactOutcome::kMerged;
    report_.layers_before = merged->layers_before;
    report_.layers_after = merged->layers_after;
    report_.read_bytes = report_.written_bytes = merged->merged_blocks * kBlockBytes;
    report_.cloned_bytes = merged->cloned_bytes;
    report_.freed_bytes = merged->freed_bytes;
    report_.duplicated_bytes = merged->duplicated_bytes;
    return {};
  }

  /// Nothing was merged: says so of the snapshot that is there now.
  Status drop() {
    LAMINA_ASSIGN_OR_RETURN(const OpenSnapshot snapshot,
                            store::open_snapshot(options_.snapshot, engine::Checksums::kSkip));
    const auto count = static_cast<std::uint32_t>(snapshot.header.mapping.layers().size());
    report_.outcome = CompactOutcome::kDropped;
    report_.pause_id = snapshot.pause_id;
    report_.layers_before = report_.layers_after = count;
    report_.merged_layers = 0;
    report_.read_bytes = report_.written_bytes = 0;
    report_.freed_bytes = report_.duplicated_bytes = 0;
    return {};
  }

  const store::StoreSource& stores_;
  const CompactOptions& options_;
  PolicyLimits limits_;
  CompactReport report_;
};

}  // namespace

Status check_merge_policy(const std::string& policy) {
  return contain("merge policy", [&]() -> Status {
    LAMINA_RETURN_IF_ERROR(mapping::parse_policy(policy));
    return {};
  });
}

Result<std::uint32_t> hard_layer_limit(const std::string& policy) {
  return contain("merge policy", [&]() -> Result<std::uint32_t> {
    LAMINA_ASSIGN_OR_RETURN(const PolicyLimits limits, mapping::parse_policy(policy));
    if (limits.kind == PolicyKind::kOff) return 0;
    return static_cast<std::uint32_t>(limits.hard_layers);
  });
}

Result<CompactReport> operations::compact(const store::StoreSource& stores,
                                          const CompactOptions& options) {
  const auto run = [&] {
    return contain("compact", [&] { return Compact(stores, options).run(); });
  };
  if (!options.background) return run();
  // A lowered priority cannot be raised again without privileges: it goes with a thread of its own.
  std::optional<Result<CompactReport>> report;
  auto thread = os::start_thread("compact", [&] { report = run(); });
  if (!thread) return std::unexpected(std::move(thread.error()));
  thread->join();
  return std::move(*report);
}

Result<CompactReport> compact(const CompactOptions& options) {
  return operations::compact({}, options);
}

Result<std::vector<std::string>> snapshots_of(const std::string& store) {
  return contain("list the store", [&]() -> Result<std::vector<std::string>> {
    LAMINA_ASSIGN_OR_RETURN(const os::Fd directory, os::open_directory(AT_FDCWD, store, store));
    LAMINA_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                            os::list_directory(directory.get(), store));
    std::vector<std::string> snapshots;
    for (const std::string& name : names) {
      const std::string path = store + "/" + name;
      if (!store::parse_snapshot_path(path) || os::is_symbolic_link(directory.get(), name))
        continue;
      // One that cannot be looked into just now is not left out: whoever opens it is told why.
      const auto header = os::facts_of_name(directory.get(), name + "/" + store::kHeaderName, path);
      if (header || header.error().kind != ErrorKind::kNotFound) snapshots.push_back(path);
    }
    return snapshots;
  });
}

}  // namespace lamina
