#include "pager/populator.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <cerrno>
#include <memory>
#include <string>
#include <vector>

#include "pager/pager_fixture.h"
#include "pager/random_serving.h"

namespace lamina::pager {
namespace {

void wait_for(PlanReader& reader) {
  pollfd waiting{reader.fd(), POLLIN, 0};
  ASSERT_EQ(::poll(&waiting, 1, 20'000), 1);
  reader.clear();
}

std::unique_ptr<PlanReader> start_reader() {
  auto reader = PlanReader::start();
  EXPECT_TRUE(reader) << reader.error().message;
  return std::move(*reader);
}

class PopulatorTest : public PagerTest {
 protected:
  Populator& populator() { return server_->populator; }
  [[nodiscard]] SessionState state() const { return server_->memory->state(); }

  /// Populates until the plan is filled, the VM ends, or nothing happens any more.
  Populated populate_all(PlanReader* reader = nullptr) {
    for (int i = 0; i < 1000; ++i) {
      const Populated populated = populator().populate(kPortionBlocks);
      if (populated == Populated::kDone) return populated;
      if (populated == Populated::kWaits) {
        if (reader == nullptr || server_->shortage.is_active()) return populated;
        wait_for(*reader);
      }
    }
    return Populated::kMore;
  }
};

TEST_F(PopulatorTest, NoPlanIsDoneAtOnce) {
  make_vm(zeros_of("dddd"));
  serve();
  EXPECT_EQ(populator().populate(1), Populated::kDone);
  EXPECT_EQ(vm_->fills(), 0);
}

TEST_F(PopulatorTest, RunsOfThePlanAreFilledAndNothingElse) {
  make_vm(zeros_of("ddddzzzzdddd"));
  const PopulatePlan plan{{{8, 2}, {3, 3}, {8, 1}}};
  serve(&plan);
  EXPECT_EQ(populate_all(), Populated::kDone);
  for (std::uint32_t block = 0; block < 12; ++block) {
    const bool is_planned = block == 3 || block == 4 || block == 5 || block == 8 || block == 9;
    EXPECT_EQ(is_missing(block), !is_planned) << block;
  }
  EXPECT_TRUE(has_data(3));
  EXPECT_TRUE(has_zeros(4));
  EXPECT_TRUE(has_data(9));
  EXPECT_EQ(counters().populated_bytes.get(), 6 * kBlockBytes) << "overlaps count";
}

TEST_F(PopulatorTest, PortionsAreFilledInTheOrderOfThePlan) {
  make_vm(std::vector<bool>(2 * kPortionBlocks));
  const PopulatePlan plan{{{kPortionBlocks, kPortionBlocks}, {7, 2}}};
  serve(&plan);
  EXPECT_EQ(populate_all(), Populated::kDone);
  const auto blocks = filled();
  ASSERT_EQ(blocks.size(), kPortionBlocks + 2);
  EXPECT_EQ(blocks.front(), kPortionBlocks);
  EXPECT_EQ(blocks[kPortionBlocks], 7);
}

TEST_F(PopulatorTest, RestFillsAllOfTheMemory) {
  make_vm(zeros_of(std::string(700, 'd') + std::string(5000, 'z') + std::string(700, 'd')));
  const PopulatePlan plan{{{3, 2}}, true};
  serve(&plan);
  EXPECT_EQ(populate_all(), Populated::kDone);
  for (std::uint32_t block = 0; block < 6400; ++block) {
    ASSERT_TRUE(block < 700 || block >= 5700 ? has_data(block) : has_zeros(block)) << block;
  }
  EXPECT_EQ(counters().populated_bytes.get(), 6402 * kBlockBytes);
}

TEST_F(PopulatorTest, LimitBoundsWhatOneCallFills) {
  make_vm(std::vector<bool>(100));
  const PopulatePlan plan{{}, true};
  serve(&plan);
  EXPECT_EQ(populator().populate(30), Populated::kMore);
  EXPECT_EQ(vm_->filled().size(), 30);
  EXPECT_EQ(populator().populate(30), Populated::kMore);
  EXPECT_EQ(vm_->filled().size(), 60);
}

TEST_F(PopulatorTest, MemoryOutsideEveryRegionIsSkipped) {
  make_vm(std::vector<bool>(100), {{address(20), 10 * kBlockBytes, 20 * kBlockBytes, kBlockBytes},
                                   {address(60), 5 * kBlockBytes, 60 * kBlockBytes, kBlockBytes}});
  const PopulatePlan plan{{}, true};
  serve(&plan);
  EXPECT_EQ(populate_all(), Populated::kDone);
  EXPECT_EQ(vm_->filled().size(), 15);
  EXPECT_TRUE(has_data(29));
  EXPECT_TRUE(has_data(60));
  EXPECT_EQ(counters().populated_bytes.get(), 100 * kBlockBytes);
}

TEST_F(PopulatorTest, BlocksGivenBackAreNotFilled) {
  make_vm(std::vector<bool>(100));
  const PopulatePlan plan{{}, true};
  serve(&plan);
  vm_->give_back(address(10), address(20));
  server_->faults.handle_events();
  EXPECT_EQ(populate_all(), Populated::kDone);
  for (std::uint32_t block = 0; block < 100; ++block) {
    EXPECT_EQ(is_missing(block), block >= 10 && block < 20) << block;
  }
}

TEST_F(PopulatorTest, BlocksGivenBackAfterTheyWerePlannedAreNotFilled) {
  make_vm(std::vector<bool>(100));
  const PopulatePlan plan{{}, true};
  serve(&plan);
  populator().populate(5);
  vm_->give_back(address(10), address(20));
  server_->faults.handle_events();
  EXPECT_EQ(populate_all(), Populated::kDone);
  EXPECT_TRUE(is_missing(10));
  EXPECT_TRUE(is_missing(19));
  EXPECT_EQ(vm_->filled().size(), 90);
}

TEST_F(PopulatorTest, BlocksGivenBackAfterTheyWereReadAheadAreNotFilled) {
  make_vm(std::vector<bool>(100));
  const auto reader = start_reader();
  const PopulatePlan plan{{}, true};
  serve(&plan, reader.get());
  ASSERT_EQ(populator().populate(1), Populated::kWaits);
  wait_for(*reader);
  vm_->give_back(address(10), address(20));
  server_->faults.handle_events();
  EXPECT_EQ(populate_all(reader.get()), Populated::kDone);
  EXPECT_EQ(vm_->filled().size(), 90);
  EXPECT_TRUE(is_missing(10));
  EXPECT_TRUE(has_data(20));
  server_.reset();
}

TEST_F(PopulatorTest, NothingIsFilledWhileAnEventIsUnread) {
  make_vm(std::vector<bool>(100));
  const PopulatePlan plan{{}, true};
  serve(&plan);
  vm_->give_back(address(10), address(20));
  EXPECT_EQ(populator().populate(kPortionBlocks), Populated::kMore);
  EXPECT_EQ(vm_->filled().size(), 0);
  server_->faults.handle_events();
  EXPECT_EQ(populate_all(), Populated::kDone);
  EXPECT_EQ(vm_->filled().size(), 90);
}

TEST_F(PopulatorTest, PresentBlocksAreSkipped) {
  make_vm(std::vector<bool>(100));
  const PopulatePlan plan{{}, true};
  serve(&plan);
  for (const std::uint32_t block : {0U, 50U, 99U}) vm_->touch(address(block));
  server_->faults.handle_events();
  const auto bytes = vm_->page(address(50));
  std::fill(bytes.begin(), bytes.end(), std::byte{1});  // the guest writes
  EXPECT_EQ(populate_all(), Populated::kDone);
  EXPECT_EQ(vm_->page(address(50))[0], std::byte{1});
  EXPECT_EQ(vm_->filled().size(), 100);
}

TEST_F(PopulatorTest, RunInTwoMappingsIsFilledBlockByBlock) {
  make_vm(std::vector<bool>(100));
  vm_->mapping_ends = {address(33), address(34)};
  const PopulatePlan plan{{}, true};
  serve(&plan);
  EXPECT_EQ(populate_all(), Populated::kDone);
  EXPECT_EQ(vm_->filled().size(), 100);
}

TEST_F(PopulatorTest, UnmappedBlocksAreSkipped) {
  make_vm(std::vector<bool>(100));
  vm_->unmapped = {address(33), address(34)};
  const PopulatePlan plan{{}, true};
  serve(&plan);
  EXPECT_EQ(populate_all(), Populated::kDone);
  EXPECT_EQ(vm_->filled().size(), 98);
}

TEST_F(PopulatorTest, ShortageStopsPopulatingUntilThereIsAPage) {
  make_vm(std::vector<bool>(100));
  const PopulatePlan plan{{}, true};
  serve(&plan);
  vm_->small_pages = 40;
  EXPECT_EQ(populate_all(), Populated::kWaits);
  EXPECT_EQ(vm_->filled().size(), 40);
  EXPECT_NE(server_->faults.take_note(), "");
  // No thread waits, so the VM is not killed.
  for (int i = 0; i < 100; ++i) {
    vm_->advance(kSecondNs);
    server_->faults.retry();
    EXPECT_EQ(populator().populate(kPortionBlocks), Populated::kWaits);
  }
  ASSERT_EQ(state(), SessionState::kServing);
  vm_->small_pages = 100;
  vm_->advance(kSecondNs);
  server_->faults.retry();
  EXPECT_EQ(populate_all(), Populated::kDone);
  EXPECT_EQ(vm_->filled().size(), 100);
}

TEST_F(PopulatorTest, LastingShortageKillsAVmThatTheServerWantsToLeave) {
  make_vm(std::vector<bool>(100));
  const PopulatePlan plan{{}, true, true};
  serve(&plan);
  vm_->small_pages = 40;
  EXPECT_EQ(populate_all(), Populated::kWaits);
  for (int i = 0; i < 31; ++i) {
    vm_->advance(kSecondNs);
    server_->faults.retry();
  }
  EXPECT_EQ(state(), SessionState::kKilled);
}

TEST_F(PopulatorTest, EmptyPoolOfHugePagesIsNotTakenForPresentPages) {
  make_vm(std::vector<bool>(3 * kHugePageBlocks), kHugePageBytes);
  const PopulatePlan plan{{}, true};
  serve(&plan);
  vm_->huge_pages = 1;
  EXPECT_EQ(populate_all(), Populated::kWaits);
  EXPECT_EQ(vm_->filled().size(), 1);
  vm_->huge_pages = 2;
  vm_->advance(kSecondNs);
  server_->faults.retry();
  EXPECT_EQ(populate_all(), Populated::kDone);
  EXPECT_EQ(vm_->filled().size(), 3);
}

TEST_F(PopulatorTest, HugePageIsFilledOnceForSeveralRunsOfThePlan) {
  make_vm(std::vector<bool>(2 * kHugePageBlocks), kHugePageBytes);
  const PopulatePlan plan{{{600, 1}, {700, 5}, {1000, 24}}};
  serve(&plan);
  EXPECT_EQ(populate_all(), Populated::kDone);
  EXPECT_EQ(vm_->fills(), 1);
  EXPECT_TRUE(has_data(600));
  EXPECT_TRUE(is_missing(0));
}

TEST_F(PopulatorTest, CorruptBlockFailsClosed) {
  make_vm(std::vector<bool>(100));
  snapshot_.damage(50);
  const PopulatePlan plan{{}, true};
  serve(&plan);
  EXPECT_EQ(populate_all(), Populated::kDone);
  EXPECT_EQ(state(), SessionState::kKilled);
  EXPECT_TRUE(vm_->was_killed());
  EXPECT_TRUE(is_missing(50));
}

TEST_F(PopulatorTest, CorruptBlockThatWasReadAheadFailsClosed) {
  make_vm(std::vector<bool>(100));
  snapshot_.damage(50);
  const auto reader = start_reader();
  const PopulatePlan plan{{}, true};
  serve(&plan, reader.get());
  EXPECT_EQ(populate_all(reader.get()), Populated::kDone);
  EXPECT_EQ(state(), SessionState::kKilled);
  EXPECT_EQ(counters().read_retries.get(), 2);
  EXPECT_TRUE(is_missing(50));
  server_.reset();
}

TEST_F(PopulatorTest, OtherErrorOfAFillFailsClosed) {
  make_vm(std::vector<bool>(100));
  vm_->failures[address(50)] = EFAULT;
  const PopulatePlan plan{{}, true};
  serve(&plan);
  EXPECT_EQ(populate_all(), Populated::kDone);
  EXPECT_EQ(state(), SessionState::kKilled);
}

TEST_F(PopulatorTest, SuccessorContinuesAfterTheLastCompletePortion) {
  make_vm(std::vector<bool>(2 * kPortionBlocks));
  const PopulatePlan plan{{}, true};
  serve(&plan);
  populator().populate(kPortionBlocks);
  populator().populate(100);
  serve(&plan);
  EXPECT_EQ(populate_all(), Populated::kDone);
  EXPECT_EQ(vm_->filled().size(), 2 * kPortionBlocks);
  EXPECT_EQ(counters().populated_bytes.get(), 2 * kPortionBlocks * kBlockBytes);
}

TEST_F(PopulatorTest, NewPlanBeginsAtItsStart) {
  make_vm(std::vector<bool>(100));
  const PopulatePlan plan{{{0, 10}}};
  serve(&plan);
  EXPECT_EQ(populate_all(), Populated::kDone);
  const PopulatePlan all{{}, true};
  populator().set_plan(&all, nullptr);
  EXPECT_EQ(populate_all(), Populated::kDone);
  EXPECT_EQ(vm_->filled().size(), 100);
}

TEST_F(PopulatorTest, DetachingFillsDataAndLeavesZerosToTheKernel) {
  make_vm(zeros_of("ddzzdd"));
  const PopulatePlan plan{{}, true, true};
  serve(&plan);
  EXPECT_EQ(populate_all(), Populated::kDone);
  EXPECT_EQ(filled(), (std::vector<std::uint32_t>{0, 1, 4, 5}));
  vm_->touch(address(2));
  EXPECT_TRUE(populator().detach());
  EXPECT_EQ(state(), SessionState::kDetached);
  EXPECT_EQ(vm_->waiting(), 0);
  EXPECT_TRUE(has_zeros(2));
}

TEST_F(PopulatorTest, DetachingLeavesHugePagesOfZerosToTheKernel) {
  std::vector<bool> zeros(2 * kHugePageBlocks);
  std::fill_n(zeros.begin(), kHugePageBlocks, true);
  make_vm(zeros, kHugePageBytes);
  const PopulatePlan plan{{}, true, true};
  serve(&plan);
  EXPECT_EQ(populate_all(), Populated::kDone);
  EXPECT_TRUE(is_missing(0));
  EXPECT_TRUE(has_data(kHugePageBlocks));
}

TEST_F(PopulatorTest, DetachingWaitsForAThreadThatGivesMemoryBack) {
  make_vm(zeros_of("dddd"));
  vm_->removing_threads_run = false;
  const PopulatePlan plan{{}, true, true};
  serve(&plan);
  EXPECT_EQ(populate_all(), Populated::kDone);
  vm_->give_back(address(1), address(2));
  EXPECT_FALSE(populator().detach());
  EXPECT_EQ(vm_->unread(), 0) << "it has read the event";
  EXPECT_FALSE(populator().detach());
  vm_->run_removing_threads();
  EXPECT_TRUE(populator().detach());
  EXPECT_EQ(state(), SessionState::kDetached);
}

TEST_F(PopulatorTest, VmThatNeverStopsGivingMemoryBackIsKilledWhenItIsDetached) {
  make_vm(zeros_of("dddd"));
  const PopulatePlan plan{{}, true, true};
  serve(&plan);
  EXPECT_EQ(populate_all(), Populated::kDone);
  int rounds = 0;
  do {
    vm_->give_back(address(1), address(2));
    vm_->advance(kSecondNs);
    ASSERT_LE(++rounds, 7);
  } while (!populator().detach());
  EXPECT_EQ(rounds, 7);
  EXPECT_EQ(state(), SessionState::kKilled);
}

TEST_F(PopulatorTest, VmThatHasEndedIsNotKilledWhenItIsDetached) {
  make_vm(zeros_of("dddd"));
  const PopulatePlan plan{{}, true, true};
  serve(&plan);
  EXPECT_EQ(populate_all(), Populated::kDone);
  vm_->exit();
  EXPECT_TRUE(populator().detach());
  EXPECT_EQ(state(), SessionState::kEnded);
  EXPECT_FALSE(vm_->was_killed());
}

/// Several VMs of one snapshot that share a reader.
class SharedReaderTest : public PagerTest {
 protected:
  struct Vm {
    Vm(SnapshotFiles& snapshot, const std::vector<Region>& regions, std::span<std::byte> buffer,
       const PopulatePlan& plan, PlanReader& reader)
        : state(snapshot.make_state(regions)),
          simulated(regions),
          server(snapshot.chain(), *state, simulated, buffer, {}, 0, &plan, &reader) {}

    std::unique_ptr<VmState> state;
    SimulatedVm simulated;
    Server server;
  };

  void SetUp() override {
    snapshot_.make(std::vector<bool>(kBlocks));
    reader_ = start_reader();
  }
  void TearDown() override { vms_.clear(); }

  Vm& add_vm() {
    const std::vector<Region> regions{{kTestAddress, kBlocks * kBlockBytes, 0, kBlockBytes}};
    vms_.push_back(std::make_unique<Vm>(snapshot_, regions, buffer_, plan_, *reader_));
    return *vms_.back();
  }

  /// Number of portions that are not in use.
  std::size_t free_portions() {
    std::vector<Portion*> taken;
    while (Portion* portion = reader_->take()) taken.push_back(portion);
    for (Portion* portion : taken) reader_->give_back(*portion);
    return taken.size();
  }

  void give_back(Populator& populator) {
    while (!populator.stop()) wait_for(*reader_);
  }

  static constexpr std::uint32_t kBlocks = 6 * kPortionBlocks;
  PopulatePlan plan_{{}, true};
  std::unique_ptr<PlanReader> reader_;
  std::vector<std::unique_ptr<Vm>> vms_;
};

TEST_F(SharedReaderTest, SessionTakesNoMoreThanItsShareOfThePortions) {
  reader_->share_among(2);
  Populator& first = add_vm().server.populator;
  Populator& second = add_vm().server.populator;
  first.populate(1);
  EXPECT_EQ(free_portions(), 2);
  second.populate(1);
  EXPECT_EQ(free_portions(), 0);
  give_back(first);
  EXPECT_EQ(free_portions(), 2);
  give_back(second);
  EXPECT_EQ(free_portions(), PlanReader::kPortions);
}

TEST_F(SharedReaderTest, SessionWithoutAPortionWaitsUntilAnotherGivesOneBack) {
  Populator& first = add_vm().server.populator;
  Vm& second = add_vm();
  first.populate(1);
  EXPECT_EQ(free_portions(), 0);
  EXPECT_EQ(second.server.populator.populate(kPortionBlocks), Populated::kWaits);
  EXPECT_EQ(second.simulated.fills(), 0);
  give_back(first);
  while (second.server.populator.populate(kPortionBlocks) == Populated::kWaits) wait_for(*reader_);
  give_back(second.server.populator);
  EXPECT_EQ(free_portions(), PlanReader::kPortions);
}

TEST_F(SharedReaderTest, AllSessionsArePopulated) {
  constexpr std::size_t kVms = 5;
  reader_->share_among(kVms);
  for (std::size_t i = 0; i < kVms; ++i) add_vm();
  for (std::size_t done = 0; done < kVms;) {
    done = 0;
    bool waits = true;
    for (const auto& vm : vms_) {
      const Populated populated = vm->server.populator.populate(kPortionBlocks);
      if (populated == Populated::kDone) ++done;
      if (populated != Populated::kWaits) waits = false;
    }
    if (waits) wait_for(*reader_);
  }
  for (const auto& vm : vms_) {
    ASSERT_EQ(vm->simulated.filled().size(), kBlocks);
    for (std::uint32_t block = 0; block < kBlocks; ++block) {
      const auto bytes = vm->simulated.page(address(block));
      ASSERT_TRUE(std::equal(bytes.begin(), bytes.end(), snapshot_.blocks()[block].begin()));
    }
  }
  EXPECT_EQ(free_portions(), PlanReader::kPortions);
}

TEST_F(SharedReaderTest, SessionThatEndsDoesNotDisturbTheOthers) {
  reader_->share_among(2);
  Vm& first = add_vm();
  Vm& second = add_vm();
  first.server.populator.populate(1);
  second.server.populator.populate(1);
  vms_.erase(vms_.begin());
  while (true) {
    const Populated populated = second.server.populator.populate(kPortionBlocks);
    if (populated == Populated::kDone) break;
    if (populated == Populated::kWaits) wait_for(*reader_);
  }
  EXPECT_EQ(second.simulated.filled().size(), kBlocks);
}

class RandomPopulatingTest : public testing::TestWithParam<int> {};

TEST_P(RandomPopulatingTest, MemoryIsAlwaysThatOfAPlainArrayOfPages) {
  RandomServing serving;
  serving.seed = static_cast<std::uint64_t>(GetParam());
  serving.populates = true;
  serving.kills_servers = GetParam() % 2 == 1;
  serving.reads_ahead = GetParam() % 3 != 0;
  EXPECT_EQ(serve_at_random(serving), "") << "seed " << serving.seed;
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomPopulatingTest, testing::Range(0, 12));

}  // namespace
}  // namespace lamina::pager
