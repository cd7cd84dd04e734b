#include "server/working_set_choice.h"

#include <gtest/gtest.h>

#include <numeric>
#include <string>

#include "base/block.h"

namespace lamina::server {
namespace {

using mapping::Extent;
using mapping::Mapping;

constexpr std::uint32_t kBlocks = 200'000;

/// Data, but for blocks [64, 80).
Mapping memory_with_zeros() {
  const std::vector<Extent> extents = {
      {0, 64, 1, 0}, {64, 16, mapping::kZeros, 0}, {80, kBlocks - 80, 1, 64}};
  return *Mapping::create(kBlocks, {Uuid::random()}, extents);
}

class WorkingSetChoiceTest : public testing::Test {
 protected:
  WorkingSetChoice choose(const std::optional<std::vector<BlockRun>>& present,
                          const std::vector<BlockRun>& replayed,
                          const std::vector<std::uint32_t>& faults) {
    format::WorkingSet set;
    set.memory_bytes = std::uint64_t{kBlocks} * kBlockBytes;
    if (present) set.runs = *present;
    return choose_working_set(mapping_, set.memory_bytes, present ? &set : nullptr, replayed,
                              faults);
  }

  static std::vector<BlockRun> runs_of(const WorkingSetChoice& choice) {
    return choice.replacement ? choice.replacement->runs : std::vector<BlockRun>{};
  }

  Mapping mapping_ = memory_with_zeros();
};

TEST_F(WorkingSetChoiceTest, TheFirstRecordingIsTheDataAroundItsFaultsInOrder) {
  const auto choice = choose(std::nullopt, {}, {100, 5, 101, 63, 80, kBlocks + 5});
  EXPECT_EQ(runs_of(choice), (std::vector<BlockRun>{{96, 16}, {0, 16}, {48, 16}, {80, 16}}))
      << "a window ends at zeros, and each block is there once";
  EXPECT_EQ(choice.used_blocks, 64U);
  EXPECT_EQ(choice.known_blocks, 0U);
}

TEST_F(WorkingSetChoiceTest, AFaultOfAPageWhoseFirstBlockIsZerosIsThatBlock) {
  EXPECT_EQ(runs_of(choose(std::nullopt, {}, {70})), (std::vector<BlockRun>{{70, 1}}));
}

TEST_F(WorkingSetChoiceTest, NothingFaultedLeavesTheSet) {
  const auto choice = choose({{{0, 16}}}, {{0, 16}}, {});
  EXPECT_FALSE(choice.replacement);
  EXPECT_EQ(choice.used_blocks, 16U);
  EXPECT_EQ(choice.known_blocks, 16U);
  EXPECT_FALSE(choose(std::nullopt, {}, {}).replacement);
}

TEST_F(WorkingSetChoiceTest, ASetThatHasNineTenthsStays) {
  const std::vector<BlockRun> set{{1600, 144}};
  EXPECT_FALSE(choose(set, set, {96}).replacement) << "144 of 160";
  EXPECT_TRUE(choose(set, set, {96, 112}).replacement) << "144 of 176";
  // One that was not filled in advance: what it would have covered counts.
  EXPECT_FALSE(choose(set, {}, {1600, 1650}).replacement);
}

TEST_F(WorkingSetChoiceTest, WhatASetLacksIsAddedBehindIt) {
  const std::vector<BlockRun> set{{1600, 32}};
  const auto choice = choose(set, set, {112, 96});
  EXPECT_EQ(runs_of(choice), (std::vector<BlockRun>{{1600, 32}, {112, 16}, {96, 16}}));
  EXPECT_EQ(choice.used_blocks, 64U);
  EXPECT_EQ(choice.known_blocks, 32U);
}

TEST_F(WorkingSetChoiceTest, ASetWithLessThanHalfIsReplacedByTheFaults) {
  const std::vector<BlockRun> set{{1600, 16}};
  EXPECT_EQ(runs_of(choose(set, set, {112, 96})), (std::vector<BlockRun>{{112, 16}, {96, 16}}));
}

TEST_F(WorkingSetChoiceTest, ASetThatWouldBecomeTooLargeIsReplaced) {
  const std::vector<BlockRun> set{{100'000, kMaxKeptBlocks - 16}};
  std::vector<std::uint32_t> faults(1000);
  for (std::uint32_t i = 0; i < faults.size(); ++i) faults[i] = 160 + i * kRecordedWindowBlocks;
  const auto choice = choose(set, set, faults);
  EXPECT_EQ(runs_of(choice), (std::vector<BlockRun>{{160, 16'000}}));
  // And one recording by itself is bounded.
  std::vector<std::uint32_t> all(kBlocks / kRecordedWindowBlocks / 2);
  for (std::uint32_t i = 0; i < all.size(); ++i) all[i] = i * 2 * kRecordedWindowBlocks;
  const auto bounded = choose(std::nullopt, {}, all);
  ASSERT_TRUE(bounded.replacement);
  const auto& runs = bounded.replacement->runs;
  EXPECT_LT(std::accumulate(runs.begin(), runs.end(), 0U,
                            [](std::uint32_t sum, const BlockRun& run) { return sum + run.count; }),
            kMaxKeptBlocks + kRecordedWindowBlocks);
}

}  // namespace
}  // namespace lamina::server
