// Faults on blocks that have not arrived.
#include <gtest/gtest.h>

#include <cstdint>
#include <optional>
#include <set>
#include <vector>

#include "pager/arriving_blocks.h"
#include "pager/pager_fixture.h"
#include "pager/parked_faults.h"

namespace lamina::pager {
namespace {

constexpr std::uint64_t kTickNs = 1'000'000;

/// A test says what is here.
class ChosenBlocks : public ArrivingBlocks {
 public:
  [[nodiscard]] bool are_here(const BlockRun& run) const noexcept override {
    for (std::uint32_t block = run.first; block < run.end(); ++block) {
      if (!is_whole_ && !here.contains(block)) return false;
    }
    return true;
  }
  [[nodiscard]] bool is_whole() const noexcept override { return is_whole_; }
  [[nodiscard]] bool is_lost() const noexcept override { return is_lost_; }
  void ask(const BlockRun& run, bool is_damaged) noexcept override {
    (is_damaged ? damaged : asked).push_back(run.first);
  }
  [[nodiscard]] std::uint64_t answers() const noexcept override { return answered; }
  [[nodiscard]] int fd() const noexcept override { return -1; }
  void handle() noexcept override {}
  [[nodiscard]] std::optional<std::uint64_t> next_tick_ns() const noexcept override { return 0; }
  bool tick(std::uint64_t /*now_ns*/) noexcept override { return true; }
  [[nodiscard]] std::uint64_t wait_limit_ns() const noexcept override { return limit_ns; }

  std::set<std::uint32_t> here;
  std::vector<std::uint32_t> asked;
  std::vector<std::uint32_t> damaged;
  std::uint64_t limit_ns = 0;
  std::uint64_t answered = 0;
  bool is_whole_ = false;
  bool is_lost_ = false;
};

class ArrivingFaultsTest : public PagerTest {
 protected:
  struct ArrivingServer {
    ArrivingServer(const engine::Chain& chain, VmState& state, SimulatedVm& vm,
                   std::span<std::byte> buffer, ArrivingBlocks& blocks, const PopulatePlan* plan)
        : memory(*GuestMemory::create(chain, state, vm, buffer)),
          faults((memory->set_arriving(&blocks), *memory), shortage, {}, 0),
          populator(*memory, shortage, plan, nullptr) {}
    std::unique_ptr<GuestMemory> memory;
    Shortage shortage{ShortageLimits{}};
    FaultServer faults;
    Populator populator;
  };

  void begin(const std::string& kinds, const PopulatePlan* plan = nullptr) {
    make_vm(zeros_of(kinds));
    arriving_.emplace(snapshot_.chain(), *state_, *vm_, buffer_, blocks_, plan);
  }
  void touch(const std::vector<std::uint32_t>& blocks) {
    for (const std::uint32_t block : blocks) vm_->touch(address(block));
    faults().handle_events();
  }
  FaultServer& faults() { return arriving_->faults; }
  [[nodiscard]] SessionState state() const { return arriving_->memory->state(); }
  [[nodiscard]] const std::string& failure() const { return arriving_->memory->failure(); }

  ChosenBlocks blocks_;
  std::optional<ArrivingServer> arriving_;
};

TEST_F(ArrivingFaultsTest, AFaultWaitsAndOthersAreServed) {
  begin("ddzzdddd");
  blocks_.here = {0, 2, 3};
  touch({5, 0, 2});
  EXPECT_TRUE(has_data(0));
  EXPECT_TRUE(has_zeros(2));
  EXPECT_TRUE(is_missing(5));
  EXPECT_EQ(vm_->waiting(), 1);
  EXPECT_EQ(blocks_.asked, (std::vector<std::uint32_t>{5}));
  faults().serve_arrived();
  EXPECT_TRUE(is_missing(5)) << "it has not arrived";
  blocks_.here.insert(5);
  faults().serve_arrived();
  EXPECT_TRUE(has_data(5));
  EXPECT_EQ(vm_->waiting(), 0);
}

TEST_F(ArrivingFaultsTest, AWaitIsCountedWhenItEnds) {
  begin("dddddd");
  blocks_.here = {0};
  touch({0, 4, 5});
  const NetworkWaits& waits = state_->network_waits();
  const auto counted = [&] {
    std::vector<std::uint64_t> counts;
    for (const Counter& bucket : waits.buckets) counts.push_back(bucket.get());
    return counts;
  };
  const auto faults_counted = [&] {
    std::uint64_t sum = 0;
    for (const Counter& bucket : counters().latency) sum += bucket.get();
    return sum;
  };
  std::vector<std::uint64_t> expected(kWaitBuckets);
  EXPECT_EQ(counted(), expected);
  EXPECT_EQ(waits.waiting.get(), 2);
  EXPECT_EQ(faults_counted(), 1) << "the others have no page yet";
  vm_->advance(5'000'000);
  blocks_.here.insert(4);
  faults().serve_arrived();
  expected[3] = 1;  // 4 to 8 ms
  EXPECT_EQ(counted(), expected);
  EXPECT_EQ(waits.waiting.get(), 1);
  EXPECT_GE(waits.sum_ns.get(), 5'000'000);
  vm_->advance(1'000'000'000'000);
  blocks_.here.insert(5);
  faults().serve_arrived();
  expected.back() = 1;
  EXPECT_EQ(counted(), expected);
  EXPECT_EQ(waits.waiting.get(), 0);
  EXPECT_EQ(faults_counted(), 3);
}

TEST_F(ArrivingFaultsTest, WhatIsAroundAFaultIsFilledOnlyIfItIsHere) {
  begin("dddddddd");
  blocks_.here = {3};
  touch({3});
  while (faults().has_deferred()) faults().fill_deferred();
  EXPECT_EQ(filled(), (std::vector<std::uint32_t>{3}));
  EXPECT_EQ(state(), SessionState::kServing);
}

TEST_F(ArrivingFaultsTest, ABlockThatWasGivenBackMeanwhileIsZeros) {
  begin("dddd");
  touch({1});
  vm_->give_back(address(1), address(2));
  faults().handle_events();
  faults().serve_arrived();
  EXPECT_TRUE(has_zeros(1));
  EXPECT_EQ(vm_->waiting(), 0);
}

TEST_F(ArrivingFaultsTest, WhatIsNeededIsAskedForAgain) {
  begin("dddd");
  touch({1});
  blocks_.asked.clear();
  ASSERT_TRUE(faults().next_retry_ns().has_value());
  faults().retry();
  EXPECT_EQ(blocks_.asked, (std::vector<std::uint32_t>{1}));
}

TEST_F(ArrivingFaultsTest, ADamagedBlockIsNeverServed) {
  begin("dddd");
  blocks_.here = {0, 1, 2, 3};
  snapshot_.damage(1);
  touch({1});
  EXPECT_TRUE(is_missing(1));
  EXPECT_EQ(blocks_.damaged, (std::vector<std::uint32_t>{1}));
  EXPECT_EQ(state(), SessionState::kServing);
  for (int i = 0; i < 3; ++i) {
    ++blocks_.answered;
    faults().serve_arrived();
  }
  EXPECT_EQ(state(), SessionState::kKilled);
  EXPECT_NE(failure().find("do not match their checksums"), std::string::npos) << failure();
}

// After a power failure a fetcher checks all that it has, which takes seconds, before it answers.
TEST_F(ArrivingFaultsTest, ADamagedBlockWaitsForAFetcherThatDoesNotAnswerYet) {
  begin("dddd");
  blocks_.here = {0, 1, 2, 3};
  snapshot_.damage(1);
  touch({1});
  blocks_.damaged.clear();
  for (int i = 0; i < 20; ++i) faults().retry();
  EXPECT_EQ(state(), SessionState::kServing) << failure();
  EXPECT_EQ(vm_->waiting(), 1);
  EXPECT_EQ(blocks_.damaged.size(), 20) << "the request that it is damaged is repeated";
  blocks_.limit_ns = 1;
  vm_->advance(kTickNs);
  faults().retry();
  EXPECT_EQ(state(), SessionState::kKilled) << "but not longer than any fault";
}

TEST_F(ArrivingFaultsTest, ADamagedBlockIsReadAgainWhenEverythingIsHere) {
  begin("dddd");
  blocks_.here = {0, 1, 2, 3};
  snapshot_.damage(1);
  touch({1});
  blocks_.is_whole_ = true;
  faults().serve_arrived();
  EXPECT_EQ(state(), SessionState::kKilled);
}

TEST_F(ArrivingFaultsTest, ADamagedBlockOfAWholeSnapshotKillsAtOnce) {
  begin("dddd");
  blocks_.is_whole_ = true;
  snapshot_.damage(1);
  touch({1});
  EXPECT_EQ(state(), SessionState::kKilled);
}

TEST_F(ArrivingFaultsTest, AFaultDoesNotWaitLongerThanTheLimit) {
  begin("dddd");
  blocks_.limit_ns = 1;
  touch({1});
  EXPECT_EQ(state(), SessionState::kServing);
  vm_->advance(kTickNs);
  faults().retry();
  EXPECT_EQ(state(), SessionState::kKilled);
  EXPECT_NE(failure().find("has not arrived within"), std::string::npos) << failure();
}

TEST_F(ArrivingFaultsTest, WhatIsLostKills) {
  begin("dddd");
  touch({1});
  blocks_.is_lost_ = true;
  faults().serve_arrived();
  EXPECT_EQ(state(), SessionState::kKilled);
}

TEST_F(ArrivingFaultsTest, NothingIsPopulatedBeforeEverythingIsHere) {
  const PopulatePlan plan{{}, true};
  begin("dddd", &plan);
  blocks_.here = {0, 1, 2};
  EXPECT_EQ(arriving_->populator.populate(512), Populated::kWaits);
  EXPECT_TRUE(filled().empty());
  blocks_.is_whole_ = true;
  while (arriving_->populator.populate(512) == Populated::kMore) {
  }
  EXPECT_EQ(filled().size(), 4);
}

TEST(ParkedFaultsTest, SurplusIsCountedAndTheSamePageIsKeptOnce) {
  ParkedFaults faults;
  faults.reserve();
  for (std::uint64_t i = 0; i < ParkedFaults::kRoom; ++i) faults.add({.page_address = i});
  faults.add({.page_address = 3});
  EXPECT_FALSE(faults.take_surplus());
  faults.add({.page_address = ParkedFaults::kRoom});
  EXPECT_TRUE(faults.take_surplus());
  EXPECT_EQ(faults.take_all().size(), ParkedFaults::kRoom);
  EXPECT_TRUE(faults.empty());
}

}  // namespace
}  // namespace lamina::pager
