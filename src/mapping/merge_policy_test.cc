// Tests each rule of the policy; merge_policy_simulation_test.cc simulates the life of a sandbox.
#include "mapping/merge_policy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "mapping/merge_policy_fixture.h"
#include "mapping/overlay.h"
#include "mapping/statistics.h"

namespace lamina::mapping {
namespace {

/// A mapping of layers with the given numbers of live blocks, one after the other, and zeros at the
/// end.
Mapping side_by_side(const std::vector<LayerLoad>& layers) {
  std::mt19937_64 random(1);
  std::uint64_t blocks = 1;
  for (const LayerLoad& layer : layers) blocks += layer.live_blocks;
  Mapping mapping = Mapping::zeros(static_cast<std::uint32_t>(blocks));
  std::uint32_t at = 0;
  for (const LayerLoad& layer : layers) {
    std::vector<Extent> changes;
    const auto live = static_cast<std::uint32_t>(layer.live_blocks);
    if (live > 0) changes.push_back({at, live, kNewLayer, 0});
    at += live;
    mapping = *overlay(mapping, make_id(random), changes);
  }
  return mapping;
}

std::size_t chosen(std::string_view policy, const std::vector<LayerLoad>& layers) {
  return layers_to_merge(limits_of(policy), side_by_side(layers), layers);
}

TEST(MergePolicy, TextNamesAPolicyAndItsLimits) {
  EXPECT_EQ(limits_of("tiered"), PolicyLimits{});
  EXPECT_EQ(limits_of("tiered:soft=4"), (PolicyLimits{PolicyKind::kTiered, 4, 16, 2, 64, 256}));
  EXPECT_EQ(limits_of("tiered:soft=6,hard=7,ratio=3,mean=10,max=20"),
            (PolicyLimits{PolicyKind::kTiered, 6, 7, 3, 10, 20}));
  EXPECT_EQ(limits_of("full").kind, PolicyKind::kFull);
  EXPECT_EQ(limits_of("full").soft_layers, 8);
  EXPECT_EQ(limits_of("cap=12"), limits_of("full:cap=12,hard=48"));
  EXPECT_EQ(limits_of("off").kind, PolicyKind::kOff);
}

TEST(MergePolicy, PolicyTextRoundTrips) {
  for (const char* text : {"off", "full", "cap=3", "full:cap=9,hard=9", "tiered", "tiered:ratio=1",
                           "tiered:soft=2,hard=65534,ratio=1000,mean=2,max=512"}) {
    const PolicyLimits limits = limits_of(text);
    EXPECT_EQ(limits_of(policy_text(limits)), limits) << text;
  }
  EXPECT_EQ(policy_text(limits_of("tiered")), "tiered:soft=8,hard=32,ratio=2,mean=64,max=256");
}

TEST(MergePolicy, InvalidPolicyTextIsRejectedNamingTheError) {
  const std::vector<std::pair<const char*, const char*>> refused = {
      {"", "tiered, full"},
      {"tired", "'tired' is not a merge policy"},
      {"off:", "is not a merge policy"},
      {"tiered:", "nothing follows the colon"},
      {"full:", "any of cap, hard"},
      {"tiered:soft", "'soft' is not one of"},
      {"tiered:cap=8", "'cap=8' is not one of soft, hard, ratio, mean, max"},
      {"full:ratio=2", "'ratio=2' is not one of cap, hard"},
      {"tiered:soft=8,", "ends with a comma"},
      {"tiered:,soft=8", "'' is not one of"},
      {"tiered:soft=", "soft is ''"},
      {"tiered:soft=1", "from 2 to"},
      {"tiered:soft=-3", "soft is '-3'"},
      {"tiered:soft=8x", "soft is '8x'"},
      {"tiered:soft=4294967298", "from 2 to 65534"},
      {"tiered:ratio=0", "from 1 to 1000"},
      {"tiered:max=513", "from 2 to 512"},
      {"cap=1", "cap is '1'"},
      {"cap=", "cap is ''"},
      {"tiered:soft=9,hard=8", "wait at 8 layers, before they are merged at 9"},
  };
  for (const auto& [text, says] : refused) {
    const auto limits = parse_policy(text);
    ASSERT_FALSE(limits) << text;
    EXPECT_EQ(limits.error().kind, ErrorKind::kUsage);
    EXPECT_NE(limits.error().message.find(says), std::string::npos) << limits.error().message;
  }
}

TEST(MergePolicy, NothingIsMergedIfOffOrASingleLayer) {
  EXPECT_EQ(chosen("off", std::vector<LayerLoad>(100, {1, 5})), 0);
  EXPECT_EQ(chosen("tiered:soft=2", {{10, 1000}}), 0);
  EXPECT_EQ(chosen("cap=2", {{10, 1000}}), 0);
}

TEST(MergePolicy, FullMergesEverythingAtItsCapOnly) {
  EXPECT_EQ(chosen("cap=4", std::vector<LayerLoad>(3, {1, 9})), 0);
  EXPECT_EQ(chosen("cap=4", std::vector<LayerLoad>(4, {1, 0})), 4);
  EXPECT_EQ(chosen("cap=4", std::vector<LayerLoad>(9, {1, 0})), 9);
}

TEST(MergePolicy, TieredLeavesALargeBaseAlone) {
  EXPECT_EQ(chosen("tiered:soft=4", {{1000, 0}, {10, 0}, {10, 0}}), 0) << "below the soft limit";
  EXPECT_EQ(chosen("tiered:soft=4", {{1000, 0}, {10, 0}, {10, 0}, {10, 0}}), 3);
  EXPECT_EQ(chosen("tiered:soft=4", {{60, 0}, {10, 0}, {10, 0}, {10, 0}}), 3) << "twice as large";
  EXPECT_EQ(chosen("tiered:soft=4", {{59, 0}, {10, 0}, {10, 0}, {10, 0}}), 4) << "comparable";
  EXPECT_EQ(chosen("tiered:soft=4,ratio=1", {{59, 0}, {10, 0}, {10, 0}, {10, 0}}), 3);
}

TEST(MergePolicy, TieredStopsBetweenTiersButNeverAboveTheSoftLimit) {
  EXPECT_EQ(chosen("tiered:soft=5", {{9000, 0}, {100, 0}, {90, 0}, {4, 0}, {5, 0}}), 2);
  EXPECT_EQ(chosen("tiered:soft=4", {{9000, 0}, {900, 0}, {90, 0}, {9, 0}, {1, 0}}), 3)
      << "no two are comparable, yet fewer than 4 must be left";
}

TEST(MergePolicy, TieredMergesMostlySupersededLayers) {
  EXPECT_EQ(chosen("tiered:soft=4", {{1000, 0}, {100, 101}, {10, 0}, {1, 0}}), 3);
  EXPECT_EQ(chosen("tiered:soft=4", {{1000, 0}, {100, 99}, {10, 0}, {1, 0}}), 2);
}

TEST(MergePolicy, TieredMergesBelowTheSoftLimitWhenHalfOfTheStoredBlocksAreDead) {
  EXPECT_EQ(chosen("tiered", {{100, 99}, {10, 10}}), 0);
  EXPECT_EQ(chosen("tiered", {{100, 100}, {10, 10}}), 2);
  EXPECT_EQ(chosen("tiered", {{1000, 0}, {100, 1200}, {10, 0}}), 2) << "the base is not to blame";
}

/// A base layer with every second block of the first `windows` windows overwritten.
Mapping combed(std::uint32_t windows_in_all, std::uint32_t windows) {
  std::mt19937_64 random(1);
  const std::uint32_t blocks = windows_in_all * kWindowBlocks;
  const std::vector<Extent> base = {{0, blocks, kNewLayer, 0}};
  std::vector<Extent> comb;
  for (std::uint32_t block = 0; block < windows * kWindowBlocks; block += 2) {
    comb.push_back({block, 1, kNewLayer, block / 2});
  }
  return *overlay(*overlay(Mapping::zeros(blocks), make_id(random), base), make_id(random), comb);
}

std::size_t chosen_for_windows(const Mapping& mapping) {
  const Statistics statistics = statistics_of(mapping);
  std::vector<LayerLoad> layers;
  for (std::size_t i = 1; i < statistics.layers.size(); ++i) {
    layers.push_back({statistics.layers[i].live_blocks, 0});
  }
  return layers_to_merge(PolicyLimits{}, mapping, layers);
}

TEST(MergePolicy, TieredMergesWindowsWithTooManyExtents) {
  EXPECT_EQ(chosen_for_windows(combed(4, 4)), 2);
  EXPECT_EQ(chosen_for_windows(combed(32, 4)), 2)
      << "the mean is 64 at 4 of 32: the maximum counts";
  EXPECT_EQ(chosen_for_windows(combed(4, 0)), 0);
}

TEST(MergePolicy, OneHotWindowDoesNotCostTheWholeMemory) {
  EXPECT_EQ(chosen_for_windows(combed(7, 1)), 2);
  EXPECT_EQ(chosen_for_windows(combed(100, 1)), 0) << "256 blocks against 50,944";
}

TEST(MergePolicy, ExtentsThatNoMergeCanJoinDoNotCauseAMerge) {
  std::mt19937_64 random(1);
  std::vector<Extent> every_second;
  for (std::uint32_t block = 0; block < 4 * kWindowBlocks; block += 2) {
    every_second.push_back({block, 1, kNewLayer, block / 2});
  }
  Mapping mapping = *overlay(Mapping::zeros(4 * kWindowBlocks), make_id(random), every_second);
  mapping = *overlay(mapping, make_id(random), std::vector<Extent>{{0, 1, kNewLayer, 0}});
  EXPECT_EQ(windows_after_merge(mapping, 0).max_extents, 512);
  EXPECT_EQ(chosen_for_windows(mapping), 0);
}

TEST(MergePolicy, PauseWaitsAtTheHardLimit) {
  EXPECT_FALSE(must_wait(limits_of("tiered"), 31));
  EXPECT_TRUE(must_wait(limits_of("tiered"), 32));
  EXPECT_TRUE(must_wait(limits_of("cap=8"), 32));
  EXPECT_FALSE(must_wait(limits_of("off"), 65534));
}

TEST(MergePolicy, WindowsAfterMergeMatchTheMergedMapping) {
  std::mt19937_64 random(7);
  Mapping mapping = Mapping::zeros(5 * kWindowBlocks + 17);
  for (int generation = 0; generation < 10; ++generation) {
    std::vector<Extent> changes;
    std::uint32_t stored = 0;
    for (std::uint32_t block = 0; block < mapping.block_count(); ++block) {
      if (random() % 4 != 0) continue;
      const bool zero = random() % 5 == 0;
      changes.push_back({block, 1, zero ? kZeros : kNewLayer, zero ? 0 : stored++});
    }
    mapping = *overlay(mapping, make_id(random), changes);
  }
  std::uint32_t before = ~0U;
  for (std::size_t youngest = 1; youngest <= mapping.layers().size(); ++youngest) {
    std::vector<bool> selected(mapping.layers().size() + 1, false);
    std::fill(selected.end() - static_cast<std::ptrdiff_t>(youngest), selected.end(), true);
    const auto plan = plan_merge(mapping, selected, make_id(random));
    ASSERT_TRUE(plan);
    const WindowUse merged = statistics_of(plan->mapping).windows;
    const WindowUse foretold = windows_after_merge(mapping, youngest);
    EXPECT_EQ(foretold.windows, merged.windows);
    EXPECT_EQ(foretold.max_extents, merged.max_extents);
    EXPECT_DOUBLE_EQ(foretold.mean_extents, merged.mean_extents);
    EXPECT_LE(foretold.max_extents, before);
    before = foretold.max_extents;
  }
}

}  // namespace
}  // namespace lamina::mapping
