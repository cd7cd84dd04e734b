// Simulates the merge policy over the life of a sandbox, on mappings only: its bounds and its
// costs.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <map>
#include <random>

#include "mapping/guest_writes.h"
#include "mapping/merge_policy.h"
#include "mapping/merge_policy_fixture.h"
#include "mapping/overlay.h"
#include "mapping/statistics.h"

namespace lamina::mapping {
namespace {

constexpr std::uint32_t kMemoryBlocks = 65536;  // 256 MiB
constexpr int kGenerations = 2314;              // the 99th percentile of a large fleet

constexpr std::array kShapes = {kSandboxShapes[0], kSandboxShapes[1], kSandboxShapes[2],
                                kScatteredShape};

class Guest {
 public:
  Guest(const GuestShape& shape, std::uint64_t seed) : shape_(shape), random_(seed) {}

  Uuid new_id() { return make_id(random_); }

  /// The changes of one pause, sorted and disjoint.
  std::vector<Extent> run() {
    std::vector<char> state(kMemoryBlocks, 0);  // 0 untouched, 1 written, 2 cleared
    auto left = static_cast<std::int64_t>(diff_blocks(shape_, kMemoryBlocks, random_));
    while (left > 0) {
      const GuestWrite write = next_write(shape_, kMemoryBlocks, random_);
      std::fill(state.begin() + write.begin, state.begin() + write.end, write.is_cleared ? 2 : 1);
      left -= write.end - write.begin;
    }
    return changes_of(state);
  }

 private:
  static std::vector<Extent> changes_of(const std::vector<char>& state) {
    std::vector<Extent> changes;
    std::uint32_t stored = 0;
    for (std::uint32_t block = 0; block < kMemoryBlocks;) {
      std::uint32_t end = block + 1;
      while (end < kMemoryBlocks && state[end] == state[block]) ++end;
      if (state[block] == 1) changes.push_back({block, end - block, kNewLayer, stored});
      if (state[block] == 1) stored += end - block;
      if (state[block] == 2) changes.push_back({block, end - block, kZeros, 0});
      block = end;
    }
    return changes;
  }

  GuestShape shape_;
  std::mt19937_64 random_;
};

/// Measurements of a life under a policy. "After" means after each compaction, even one that merged
/// nothing.
struct Life {
  std::size_t most_layers = 0;
  std::size_t most_layers_after = 0;
  std::uint64_t merges = 0;
  std::uint64_t most_written = 0;   ///< blocks, by one merge
  double written_per_block = 0;     ///< blocks written by merges per block of a diff
  double worst_written = 0;         ///< the same over the worst 100 pauses in a row
  double most_dead_after = 0;       ///< dead per live
  double most_mean_after = 0;       ///< extents per window, on average
  double most_mean_over_bound = 0;  ///< that, less what the header of merge_policy.h promises
  std::uint32_t most_in_window = 0;
};

class Sandbox {
 public:
  Sandbox(const GuestShape& shape, const PolicyLimits& limits, int pauses_per_compaction)
      : guest_(shape, 2314), limits_(limits), pauses_per_compaction_(pauses_per_compaction) {
    // A first snapshot: 80 % used, in runs.
    std::vector<Extent> base;
    std::uint32_t stored = 0;
    for (std::uint32_t block = 0; block < kMemoryBlocks; block += 1280) {
      base.push_back({block, std::min(1024U, kMemoryBlocks - block), kNewLayer, stored});
      stored += base.back().block_count;
    }
    add(base);
    diff_blocks_ = 0;
  }

  Life live() {
    std::vector<std::uint64_t> diffs{0};
    std::vector<std::uint64_t> writes{0};
    for (int generation = 1; generation <= kGenerations; ++generation) {
      add(guest_.run());
      life_.most_layers = std::max(life_.most_layers, mapping_.layers().size());
      if (generation % pauses_per_compaction_ == 0) compact();
      diffs.push_back(diff_blocks_);
      writes.push_back(written_blocks_);
    }
    const auto share = [](std::uint64_t a, std::uint64_t b) {
      return static_cast<double>(a) / static_cast<double>(b);
    };
    life_.written_per_block = share(written_blocks_, diff_blocks_);
    for (std::size_t i = 100; i < diffs.size(); ++i) {
      life_.worst_written = std::max(life_.worst_written,
                                     share(writes[i] - writes[i - 100], diffs[i] - diffs[i - 100]));
    }
    return life_;
  }

 private:
  void add(const std::vector<Extent>& changes) {
    const Uuid id = guest_.new_id();
    mapping_ = *overlay(mapping_, id, changes);
    for (const Extent& change : changes) {
      if (change.layer != kZeros) stored_[id] += change.block_count;
    }
    diff_blocks_ += stored_[id];
  }

  [[nodiscard]] std::vector<LayerLoad> loads() const {
    const Statistics statistics = statistics_of(mapping_);
    std::vector<LayerLoad> loads;
    for (std::size_t i = 1; i < statistics.layers.size(); ++i) {
      const std::uint64_t live = statistics.layers[i].live_blocks;
      loads.push_back({live, stored_.at(mapping_.layers()[i - 1]) - live});
    }
    return loads;
  }

  void compact() {
    const std::size_t youngest = layers_to_merge(limits_, mapping_, loads());
    if (youngest > 0) {
      const Uuid id = guest_.new_id();
      std::vector<bool> selected(mapping_.layers().size() + 1, false);
      std::fill(selected.end() - static_cast<std::ptrdiff_t>(youngest), selected.end(), true);
      MergePlan plan = *plan_merge(mapping_, selected, id);
      mapping_ = std::move(plan.mapping);
      stored_[id] = plan.moved_blocks;
      written_blocks_ += plan.moved_blocks;
      life_.most_written = std::max<std::uint64_t>(life_.most_written, plan.moved_blocks);
      ++life_.merges;
    }
    look();
  }

  void look() {
    life_.most_layers_after = std::max(life_.most_layers_after, mapping_.layers().size());
    std::uint64_t live = 0;
    std::uint64_t dead = 0;
    for (const LayerLoad& load : loads()) {
      live += load.live_blocks;
      dead += load.dead_blocks;
    }
    life_.most_dead_after =
        std::max(life_.most_dead_after, static_cast<double>(dead) / static_cast<double>(live));
    const WindowUse windows = windows_after_merge(mapping_, 0);
    const double full = windows_after_merge(mapping_, mapping_.layers().size()).mean_extents;
    const double bound = std::max<double>(limits_.mean_extents, 2 * full) + 64;
    life_.most_mean_after = std::max(life_.most_mean_after, windows.mean_extents);
    life_.most_mean_over_bound = std::max(life_.most_mean_over_bound, windows.mean_extents - bound);
    life_.most_in_window = std::max(life_.most_in_window, windows.max_extents);
  }

  Guest guest_;
  PolicyLimits limits_;
  int pauses_per_compaction_;
  Mapping mapping_ = Mapping::zeros(kMemoryBlocks);
  std::map<Uuid, std::uint64_t> stored_;
  Life life_;
  std::uint64_t diff_blocks_ = 0;
  std::uint64_t written_blocks_ = 0;
};

void print_head() {
  std::printf("%-10s %-16s %6s | %6s %6s | %7s %7s %7s | %6s | %6s %4s\n", "guest", "policy",
              "merges", "layers", "after", "written", "worst", "largest", "dead", "mean", "max");
}

Life live(const GuestShape& shape, const char* policy, int pauses_per_compaction = 1) {
  const Life life = Sandbox(shape, limits_of(policy), pauses_per_compaction).live();
  std::printf("%-10s %-16s %6lu | %6zu %6zu | %7.2f %7.2f %6.1f%% | %5.1f%% | %6.1f %4u\n",
              shape.name, policy, life.merges, life.most_layers, life.most_layers_after,
              life.written_per_block, life.worst_written,
              100.0 * static_cast<double>(life.most_written) / kMemoryBlocks,
              100 * life.most_dead_after, life.most_mean_after, life.most_in_window);
  return life;
}

/// Bounds on blocks written per diff block, a tenth above the measured values: over the life, and
/// over the worst 100 consecutive pauses. And a lower bound for the policy `full` over the life.
struct Expected {
  GuestShape shape;
  double written;
  double worst_written;
  double written_by_full;
};

class MergePolicySimulation : public testing::TestWithParam<Expected> {};

TEST_P(MergePolicySimulation, TieredKeepsItsBoundsOver2314Pauses) {
  const Life life = live(GetParam().shape, "tiered");
  EXPECT_EQ(life.most_layers, 8);
  EXPECT_EQ(life.most_layers_after, 7);
  EXPECT_LT(life.most_dead_after, 1);
  EXPECT_LE(life.most_mean_over_bound, 0);
  EXPECT_LE(life.written_per_block, GetParam().written);
  EXPECT_LE(life.worst_written, GetParam().worst_written);
}

TEST_P(MergePolicySimulation, TieredKeepsItsBoundsWhenMergesComeLate) {
  constexpr int kPauses = 6;
  const Life life = live(GetParam().shape, "tiered", kPauses);
  EXPECT_LE(life.most_layers, 7 + kPauses);
  EXPECT_LE(life.most_layers_after, 7);
  EXPECT_LT(life.most_dead_after, 1);
  EXPECT_LE(life.most_mean_over_bound, 0);
  EXPECT_LE(life.written_per_block, GetParam().written);
}

TEST_P(MergePolicySimulation, FullKeepsItsCapAndRewritesEverything) {
  const Life life = live(GetParam().shape, "full");
  EXPECT_EQ(life.most_layers, 8);
  EXPECT_EQ(life.most_layers_after, 7);
  EXPECT_GE(life.written_per_block, GetParam().written_by_full);
}

// Measured (tiered, tiered's worst 100 pauses, full): sandbox 2.03, 2.70, 7.44; idle 2.43, 3.54,
// 66.05; uniform 3.17, 3.65, 7.85; scattered 10.79, 13.58, 7.28. In the last one the diffs are
// single pages all over the memory, and the limit on extents per window causes most of tiered's
// merges: full leaves 180 extents per window on average, tiered at most 91.
INSTANTIATE_TEST_SUITE_P(Guests, MergePolicySimulation,
                         testing::Values(Expected{kShapes[0], 2.2, 3, 7},
                                         Expected{kShapes[1], 2.7, 3.9, 60},
                                         Expected{kShapes[2], 3.5, 4, 7},
                                         Expected{kShapes[3], 11.9, 15, 7}),
                         [](const auto& info) { return std::string(info.param.shape.name); });

// The figures of docs/decisions/0007-merge-policy.md:
// lamina_tests --gtest_also_run_disabled_tests --gtest_filter='*DISABLED_PrintTheTable'
TEST(MergePolicyFigures, DISABLED_PrintTheTable) {
  print_head();
  for (const GuestShape& shape : kShapes) {
    for (const char* policy : {"full", "tiered:ratio=1", "tiered", "tiered:ratio=3",
                               "tiered:ratio=4", "tiered:soft=4", "tiered:soft=16"}) {
      live(shape, policy);
    }
  }
}

}  // namespace
}  // namespace lamina::mapping
