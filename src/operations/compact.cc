// Connects the policy (mapping/merge_policy.h) with merge(): collects what the policy needs to know
// about the layers, and starts again if another writer replaces the snapshot meanwhile.
#include "lamina/compact.h"

#include <algorithm>
#include <optional>

#include "base/block.h"
#include "base/contain.h"
#include "base/error.h"
#include "lamina/merge.h"
#include "mapping/merge_policy.h"
#include "mapping/overlay.h"
#include "mapping/statistics.h"
#include "operations/rate_limit.h"
#include "operations/with_store.h"
#include "os/clock.h"
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

/// How many merges are begun before the compaction is dropped.
constexpr std::uint32_t kAttempts = 4;

/// Delay before the second attempt; it doubles with each attempt. A pause takes some ten
/// milliseconds.
constexpr std::uint64_t kFirstDelayNs = 50'000'000;

std::vector<LayerLoad> loads_of(const OpenSnapshot& snapshot) {
  const mapping::Statistics statistics = mapping::statistics_of(snapshot.header.mapping);
  std::vector<LayerLoad> loads;
  for (std::size_t i = 0; i < snapshot.chain.layers().size(); ++i) {
    const engine::Layer& layer = snapshot.chain.layers()[i];
    const std::uint64_t live = statistics.layers[i + 1].live_blocks;
    const std::uint64_t stored = layer.stored_blocks();
    // A layer that others link stays on the disk: a merge does not free it.
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
            fmt::format("the merge runs at normal priority: {}", one_line(low.error())));
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
        report_.notes.push_back(fmt::format("the merge was dropped: {}", one_line(merged.error())));
        return drop();
      }
      if (options_.progress != nullptr && options_.progress->interrupted()) {
        return fail(ErrorKind::kInterrupted, "interrupted");
      }
      os::sleep_until(os::monotonic_ns() + delay_ns);
      delay_ns *= 2;
    }
  }

  /// Plans the merge that the policy chooses, and describes it in the report.
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
    // The order of the layers is unknown: merge all or none.
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

  /// Merges what was planned for the build `planned`. kBusy: the snapshot was replaced since.
  Status merge_as_planned(const Uuid& planned) {
    ++report_.attempts;
    std::optional<operations::RateLimitedProgress> limited;
    MergeOptions merging;
    merging.snapshot = options_.snapshot;
    merging.layers = report_.merged_layers;
    merging.only_build = planned;
    merging.progress = options_.progress;
    if (options_.rate_limit_bytes_s > 0) {
      limited.emplace(options_.progress, options_.rate_limit_bytes_s,
                      operations::RateClock::real());
      merging.progress = &*limited;
    }
    auto merged = operations::merge(stores_, merging);
    std::vector<std::string>& notes = merged ? merged->notes : merged.error().notes;
    report_.notes.insert(report_.notes.end(), notes.begin(), notes.end());
    if (!merged)
      return std::unexpected(Error{merged.error().kind,
                                   merged.error().message,
                                   {},
                                   merged.error().error_number,
                                   merged.error().remedy});
    report_.outcome = CompactOutcome::kMerged;
    report_.layers_before = merged->layers_before;
    report_.layers_after = merged->layers_after;
    report_.read_bytes = report_.written_bytes = merged->merged_blocks * kBlockBytes;
    report_.cloned_bytes = merged->cloned_bytes;
    report_.freed_bytes = merged->freed_bytes;
    report_.duplicated_bytes = merged->duplicated_bytes;
    return {};
  }

  /// Nothing was merged: describes the current snapshot in the report.
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
  // Raising a lowered priority needs privileges, so the merge gets a thread of its own.
  std::optional<Result<CompactReport>> report;
  auto thread = os::start_thread("compact", [&] { report = run(); });
  if (!thread) return std::unexpected(std::move(thread.error()));
  thread->join();
  return std::move(*report);
}

Result<CompactReport> compact(const CompactOptions& options) {
  return operations::compact({}, options);
}

}  // namespace lamina
