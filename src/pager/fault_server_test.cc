#include "pager/fault_server.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <string>
#include <vector>

#include "os/file.h"
#include "pager/pager_fixture.h"
#include "pager/random_serving.h"

namespace lamina::pager {
namespace {

class FaultServerTest : public PagerTest {
 protected:
  /// The guest touches blocks, one thread each; their events are handled.
  void touch(const std::vector<std::uint32_t>& blocks) {
    for (const std::uint32_t block : blocks) vm_->touch(address(block));
    server_->faults.handle_events();
  }
  FaultServer& faults() { return server_->faults; }
  [[nodiscard]] SessionState state() const { return server_->memory->state(); }
  [[nodiscard]] const std::string& failure() const { return server_->memory->failure(); }
};

TEST_F(FaultServerTest, FaultOnDataIsServedFromTheSnapshot) {
  make_vm(zeros_of("dddddddd"));
  serve();
  touch({3});
  EXPECT_TRUE(has_data(3));
  EXPECT_EQ(vm_->waiting(), 0);
  EXPECT_EQ(filled(), (std::vector<std::uint32_t>{3})) << "what is around it is not filled yet";
  EXPECT_EQ(counters().data_faults.get(), 1);
  EXPECT_EQ(counters().zero_faults.get(), 0);
  EXPECT_EQ(counters().data_bytes.get(), kBlockBytes);
}

TEST_F(FaultServerTest, FaultOnZerosIsServedWithZeros) {
  make_vm(zeros_of("ddzzdd"));
  serve();
  touch({2});
  EXPECT_TRUE(has_zeros(2));
  EXPECT_EQ(counters().zero_faults.get(), 1);
  EXPECT_EQ(counters().zero_bytes.get(), kBlockBytes);
  EXPECT_EQ(counters().data_bytes.get(), 0);
}

TEST_F(FaultServerTest, FaultCostsOneFillAndNoWake) {
  make_vm(zeros_of("ddzzdd"));
  serve();
  const std::size_t wakes = vm_->wakes();
  touch({0, 2, 5});
  EXPECT_EQ(vm_->fills(), 3);
  EXPECT_EQ(vm_->wakes(), wakes);
  EXPECT_EQ(counters().latency[0].get(), 3);
}

TEST_F(FaultServerTest, NoEventIsNoWork) {
  make_vm(zeros_of("dd"));
  serve();
  EXPECT_EQ(faults().handle_events(), 0);
  EXPECT_EQ(vm_->fills(), 0);
  EXPECT_FALSE(faults().has_deferred());
}

TEST_F(FaultServerTest, RemovedBlockIsServedWithZeros) {
  make_vm(zeros_of("dddddddd"));
  serve();
  touch({3});
  vm_->give_back(address(2), address(5));
  faults().handle_events();
  EXPECT_TRUE(is_missing(3));
  touch({3, 5});
  EXPECT_TRUE(has_zeros(3));
  EXPECT_TRUE(has_data(5));
  EXPECT_EQ(counters().removes.get(), 1);
}

TEST_F(FaultServerTest, RemovesOfABatchAreAppliedBeforeItsFaults) {
  make_vm(zeros_of("dddddddd"));
  serve();
  vm_->give_back(address(3), address(4));
  // (The kernel reports faults first.)
  touch({3});
  EXPECT_TRUE(has_zeros(3));
  EXPECT_EQ(counters().reread_events.get(), 0);
}

TEST_F(FaultServerTest, RemoveBehindAFullBatchIsReadBeforeAnythingIsFilled) {
  make_vm(std::vector<bool>(64));
  serve();
  vm_->give_back(address(0), address(2));
  std::vector<std::uint32_t> blocks(VmState::kSlots + 4);
  for (std::uint32_t i = 0; i < blocks.size(); ++i) blocks[i] = i;
  touch(blocks);
  EXPECT_EQ(counters().reread_events.get(), 1);
  EXPECT_EQ(counters().removes.get(), 1);
  // Faults that were read together with the REMOVE were woken, and recur.
  EXPECT_EQ(vm_->unread(), 4);
  faults().handle_events();
  EXPECT_EQ(vm_->waiting(), 0);
  for (const std::uint32_t block : blocks) EXPECT_EQ(has_zeros(block), block < 2) << block;
}

TEST_F(FaultServerTest, RemoveBehindMoreFaultsThanSlotsIsReadBeforeTheyRecur) {
  constexpr std::uint32_t kFaults = 200;
  make_vm(std::vector<bool>(kFaults));
  serve();
  vm_->give_back(address(0), address(2));
  std::vector<std::uint32_t> blocks(kFaults);
  for (std::uint32_t i = 0; i < kFaults; ++i) blocks[i] = i;
  touch(blocks);
  EXPECT_EQ(counters().removes.get(), 1);
  EXPECT_EQ(counters().reread_events.get(), 1);
  while (vm_->unread() > 0) faults().handle_events();
  EXPECT_EQ(vm_->waiting(), 0);
  for (const std::uint32_t block : blocks) EXPECT_EQ(has_zeros(block), block < 2) << block;
}

TEST_F(FaultServerTest, FaultIsWokenIfNoEventCanBeRead) {
  make_vm(zeros_of("dddddddd"));
  serve();
  vm_->removing_threads_run = false;
  vm_->give_back(address(0), address(1));
  faults().handle_events();
  touch({3});
  EXPECT_TRUE(is_missing(3)) << "the thread that gives memory back has yet to run";
  EXPECT_EQ(counters().reread_events.get(), 1);
  EXPECT_EQ(vm_->unread(), 1) << "the fault recurs";
  vm_->run_removing_threads();
  faults().handle_events();
  EXPECT_TRUE(has_data(3));
}

TEST_F(FaultServerTest, EndlessRemovesDoNotKeepTheServer) {
  make_vm(std::vector<bool>(64));
  serve();
  vm_->around_calls = [&] {
    // Whenever all events have been read, there is another.
    if (vm_->unread() == 0) vm_->give_back(address(40), address(41));
  };
  vm_->touch(address(3));
  EXPECT_EQ(faults().handle_events(), 1);
  EXPECT_EQ(counters().reread_events.get(), 4);
  EXPECT_TRUE(is_missing(3));
  vm_->around_calls = [] {};
  faults().handle_events();
  faults().handle_events();
  EXPECT_TRUE(has_data(3));
}

TEST_F(FaultServerTest, FullBatchesOfRemovesAreNotReadToTheirEnd) {
  make_vm(std::vector<bool>(64));
  serve();
  vm_->around_calls = [&] {
    // Many threads give memory back: more REMOVEs are always unread than there are slots.
    while (vm_->unread() < 2 * VmState::kSlots) vm_->give_back(address(40), address(41));
  };
  vm_->touch(address(3));
  EXPECT_EQ(faults().handle_events(), VmState::kSlots);
  EXPECT_EQ(counters().reread_events.get(), 4);
  EXPECT_EQ(vm_->reads(), 1 + 4) << "the batch with the fault, then one for each attempt";
  EXPECT_TRUE(is_missing(3));
  vm_->around_calls = [] {};
  while (vm_->unread() > 0) faults().handle_events();
  EXPECT_TRUE(has_data(3));
}

TEST_F(FaultServerTest, ThreadsThatWaitForOnePageAreWokenTogether) {
  make_vm(zeros_of("dddd"));
  serve();
  touch({1, 1, 1});
  EXPECT_EQ(vm_->waiting(), 0);
  EXPECT_EQ(counters().data_faults.get(), 1);
  EXPECT_EQ(counters().present_faults.get(), 2);
  EXPECT_FALSE(faults().next_retry_ns()) << "of 4 KiB pages, EEXIST means that the page is there";
}

TEST_F(FaultServerTest, FaultInAnUnmappedRangeIsWoken) {
  make_vm(zeros_of("dddd"));
  serve();
  const std::size_t wakes = vm_->wakes();
  vm_->unmapped.insert(address(1));
  touch({1});
  EXPECT_EQ(vm_->wakes(), wakes + 1);
  EXPECT_EQ(state(), SessionState::kServing);
}

TEST_F(FaultServerTest, ProcessThatHasEndedEndsTheSession) {
  make_vm(zeros_of("dddd"));
  serve();
  vm_->exit();
  touch({1});
  EXPECT_EQ(state(), SessionState::kEnded);
  EXPECT_FALSE(vm_->was_killed());
}

TEST_F(FaultServerTest, ProcessThatEndsBeforeTheFillEndsTheSession) {
  make_vm(zeros_of("dddd"));
  serve();
  vm_->around_calls = [&] {
    if (vm_->unread() == 0) vm_->exit();
  };
  touch({1, 2});
  EXPECT_EQ(state(), SessionState::kEnded);
  EXPECT_FALSE(vm_->was_killed());
}

TEST_F(FaultServerTest, CorruptBlockFailsClosed) {
  make_vm(zeros_of("dddddddd"));
  snapshot_.damage(2);
  serve();
  touch({3, 2, 4});
  EXPECT_TRUE(has_data(3));
  EXPECT_EQ(state(), SessionState::kKilled);
  EXPECT_TRUE(vm_->was_killed());
  EXPECT_EQ(vm_->poisoned(), std::set<std::uint64_t>{address(2)});
  EXPECT_NE(failure().find("does not match its checksum"), std::string::npos) << failure();
  EXPECT_EQ(counters().read_retries.get(), 2);
  EXPECT_TRUE(is_missing(2));
  EXPECT_TRUE(is_missing(4)) << "nothing is filled any more";
  EXPECT_EQ(faults().handle_events(), 0);
}

TEST_F(FaultServerTest, CorruptBlockAroundAFaultFailsClosed) {
  make_vm(zeros_of("dddddddd"));
  snapshot_.damage(2);
  serve();
  touch({3});
  EXPECT_EQ(state(), SessionState::kServing);
  faults().fill_deferred();
  EXPECT_EQ(state(), SessionState::kKilled);
  EXPECT_TRUE(vm_->was_killed());
  EXPECT_TRUE(is_missing(2));
}

TEST_F(FaultServerTest, OtherErrorOfAFillFailsClosed) {
  make_vm(zeros_of("dddd"));
  serve();
  vm_->failures[address(1)] = EFAULT;
  touch({1});
  EXPECT_EQ(state(), SessionState::kKilled);
  EXPECT_EQ(vm_->poisoned(), std::set<std::uint64_t>{address(1)});
  EXPECT_NE(failure().find("0x700000001000"), std::string::npos) << failure();
}

TEST_F(FaultServerTest, FaultOutsideEveryRegionFailsClosed) {
  make_vm(zeros_of("dddd"));
  serve();
  touch({4});
  EXPECT_EQ(state(), SessionState::kKilled);
  EXPECT_NE(failure().find("outside every region"), std::string::npos) << failure();
}

TEST_F(FaultServerTest, ForkFailsClosedAndItsDescriptorIsClosed) {
  make_vm(zeros_of("dddd"));
  serve();
  auto child = os::make_memory_file("child");
  ASSERT_TRUE(child);
  const int descriptor = child->release();
  vm_->fork(descriptor);
  touch({1});
  EXPECT_EQ(state(), SessionState::kKilled);
  EXPECT_TRUE(vm_->was_killed());
  EXPECT_EQ(::fcntl(descriptor, F_GETFD), -1);
}

TEST_F(FaultServerTest, WindowAroundAFaultIsFilledWhenNoFaultIsPending) {
  make_vm(zeros_of("zzzzddddddddddddddddddddzzzz"));
  serve();
  touch({5});
  EXPECT_TRUE(faults().has_deferred());
  faults().fill_deferred();
  EXPECT_EQ(vm_->filled().size(), 1 + kDataPartBlocks);
  fill_all_deferred();
  for (std::uint32_t block = 0; block < 28; ++block) {
    EXPECT_EQ(has_data(block), block >= 4 && block < 16) << block;
  }
  EXPECT_EQ(counters().data_faults.get(), 1);
}

TEST_F(FaultServerTest, WindowWithEnoughFaultsIsFilledAlthoughFaultsArePending) {
  make_vm(std::vector<bool>(64));
  serve();
  touch({0, 3, 6});
  EXPECT_EQ(vm_->filled().size(), 3);
  vm_->touch(address(9));
  for (std::uint32_t i = 0; i < 16; ++i) vm_->touch(address(20 + 2 * i));
  faults().handle_events();
  EXPECT_GT(vm_->filled().size(), VmState::kSlots + 3) << "not only the faults of the batch";
  faults().handle_events();
  for (std::uint32_t block = 0; block < 16; ++block) EXPECT_TRUE(has_data(block)) << block;
}

TEST_F(FaultServerTest, PendingFaultsDoNotWaitForAllWindowsThatAreDue) {
  constexpr std::uint32_t kWindows = VmState::kSlots;
  const std::uint32_t window = limits_.data_blocks;
  make_vm(std::vector<bool>(std::size_t{kWindows + 1} * window));
  serve();
  for (const std::uint32_t in_window : {3U, 6U, 9U}) {
    for (std::uint32_t i = 0; i < kWindows; ++i) vm_->touch(address(i * window + in_window));
    faults().handle_events();
  }
  ASSERT_EQ(vm_->filled().size(), 3 * kWindows);
  for (std::uint32_t i = 0; i < kWindows; ++i) vm_->touch(address(i * window + 12));
  faults().handle_events();
  constexpr std::size_t kMost = kWindows + kWindows / kFaultsPerPart * kDataPartBlocks;
  EXPECT_LE(vm_->filled().size(), 3 * kWindows + kMost);
  const std::uint32_t pending = kWindows * window + 1;
  touch({pending});
  EXPECT_TRUE(has_data(pending));
  EXPECT_LT(vm_->filled().size(), std::size_t{kWindows} * window) << "windows still wait";
  fill_all_deferred();
  for (std::uint32_t block = 0; block < kWindows * window; ++block) {
    EXPECT_TRUE(has_data(block)) << block;
  }
}

TEST_F(FaultServerTest, MoreWindowsThanThereIsRoomForAreAllFilled) {
  constexpr auto kWindows = static_cast<std::uint32_t>(DueWindows::kRoom * 3);
  const std::uint32_t window = limits_.data_blocks;
  make_vm(std::vector<bool>(std::size_t{kWindows} * window));
  serve();
  for (const std::uint32_t in_window : {3U, 6U, 9U, 12U}) {
    for (std::uint32_t i = 0; i < kWindows; ++i) {
      vm_->touch(address(i * window + in_window));
      if (i % VmState::kSlots == VmState::kSlots - 1) faults().handle_events();
    }
  }
  fill_all_deferred();
  for (std::uint32_t block = 0; block < kWindows * window; ++block) {
    EXPECT_TRUE(has_data(block)) << block;
  }
  EXPECT_EQ(counters().data_faults.get(), 4 * kWindows);
}

// A full queue makes room only for a window that is not in it.
TEST_F(FaultServerTest, FaultsInWindowsThatAreDueAlreadyDoNotFillTheOldest) {
  constexpr std::uint32_t kBatch = VmState::kSlots;
  constexpr std::uint32_t kDonePerBatch = kBatch / kFaultsPerPart / 2;  // windows of two parts
  constexpr std::uint32_t kWindows = DueWindows::kRoom + 2 * kDonePerBatch;
  const std::uint32_t window = limits_.data_blocks;
  make_vm(std::vector<bool>(std::size_t{kWindows} * window));
  serve();
  const auto batch = [&](std::uint32_t first, std::uint32_t count, std::uint32_t in_window) {
    for (std::uint32_t i = first; i < first + count; ++i) {
      vm_->touch(address(i * window + in_window));
    }
  };
  for (const std::uint32_t in_window : {3U, 6U, 9U}) {
    for (std::uint32_t i = 0; i < kWindows; ++i) touch({i * window + in_window});
  }
  batch(0, kBatch, 12);
  faults().handle_events();
  batch(kBatch, kBatch, 12);
  faults().handle_events();
  // The first faults of this batch fill the queue; the others are of windows that are in it.
  const std::size_t before = vm_->filled().size();
  batch(2 * kBatch, kWindows - 2 * kBatch, 12);
  batch(kBatch, kBatch - (kWindows - 2 * kBatch), 14);
  faults().handle_events();
  // One window at most had to make room for those that are new.
  EXPECT_LE(vm_->filled().size() - before,
            kBatch + kBatch / kFaultsPerPart * kDataPartBlocks + window);
  fill_all_deferred();
  for (std::uint32_t block = 0; block < kWindows * window; ++block) {
    EXPECT_TRUE(has_data(block)) << block;
  }
}

TEST_F(FaultServerTest, BlocksGivenBackWhileTheirWindowIsDueAreNotFilled) {
  constexpr std::uint32_t kWindows = VmState::kSlots;
  const std::uint32_t window = limits_.data_blocks;
  make_vm(std::vector<bool>(std::size_t{kWindows} * window));
  serve();
  for (const std::uint32_t in_window : {3U, 6U, 9U, 12U}) {
    for (std::uint32_t i = 0; i < kWindows; ++i) vm_->touch(address(i * window + in_window));
    faults().handle_events();
  }
  const std::uint32_t last = (kWindows - 1) * window;
  vm_->give_back(address(last), address(last + 8));
  faults().handle_events();
  fill_all_deferred();
  for (std::uint32_t i = 0; i < window; ++i) EXPECT_EQ(is_missing(last + i), i < 8) << i;
}

TEST_F(FaultServerTest, BlocksGivenBackAfterTheyWereDeferredAreNotFilled) {
  make_vm(std::vector<bool>(64));
  serve();
  touch({8});
  vm_->give_back(address(4), address(7));
  faults().handle_events();
  fill_all_deferred();
  for (std::uint32_t block = 0; block < 16; ++block) {
    EXPECT_EQ(is_missing(block), block < 7) << block;
  }
}

TEST_F(FaultServerTest, PresentBlocksInAWindowAreSkipped) {
  make_vm(std::vector<bool>(64));
  serve();
  touch({8});
  // Filled by a predecessor: nothing marks them.
  ASSERT_EQ(vm_->copy(address(10), snapshot_.blocks()[10]).bytes_done, kBlockBytes);
  ASSERT_EQ(vm_->copy(address(2), snapshot_.blocks()[2]).bytes_done, kBlockBytes);
  fill_all_deferred();
  for (std::uint32_t block = 0; block < 16; ++block) EXPECT_TRUE(has_data(block)) << block;
  EXPECT_EQ(vm_->filled().size(), 16);
}

TEST_F(FaultServerTest, RecordingNotesEachTouchInOrderUntilItsEnd) {
  record_until_ns_ = 5 * kSecondNs;
  make_vm(zeros_of("ddddzzzzdddd"));
  serve();
  touch({3, 1});
  touch({5});
  EXPECT_TRUE(faults().has_deferred()) << "zeros are not recorded block by block";
  vm_->advance(10 * kSecondNs);
  touch({9});
  ASSERT_EQ(state_->recorded_count().get(), 3);
  EXPECT_EQ(state_->recorded_blocks()[0], 3);
  EXPECT_EQ(state_->recorded_blocks()[1], 1);
  EXPECT_EQ(state_->recorded_blocks()[2], 5);
  fill_all_deferred();
  EXPECT_TRUE(is_missing(2)) << "data was not filled around a recorded fault";
  EXPECT_TRUE(has_data(10));
}

TEST_F(FaultServerTest, RecordingFaultsOnlyNotesDataAndFillsAroundIt) {
  record_until_ns_ = 5 * kSecondNs;
  record_faults_only_ = true;
  make_vm(zeros_of("ddddzzzzdddd"));
  serve();
  touch({3});
  touch({5});
  fill_all_deferred();
  EXPECT_TRUE(has_data(2)) << "recording must not change what is filled";
  ASSERT_EQ(state_->recorded_count().get(), 1) << "zeros are not recorded";
  EXPECT_EQ(state_->recorded_blocks()[0], 3);
  serve();  // a successor continues
  touch({9});
  ASSERT_EQ(state_->recorded_count().get(), 2);
  EXPECT_EQ(state_->recorded_blocks()[1], 9);
  vm_->advance(10 * kSecondNs);
  vm_->give_back(address(8), address(9));
  touch({8});
  EXPECT_EQ(state_->recorded_count().get(), 2) << "its time is over";
}

TEST_F(FaultServerTest, RecordingFaultsOnlyIsBounded) {
  record_until_ns_ = 5 * kSecondNs;
  record_faults_only_ = true;
  limits_ = {.data_blocks = 1, .zero_blocks = 1};
  make_vm(std::vector<bool>(kMaxNotedFaults + 10));
  serve();
  for (std::uint32_t block = 0; block < kMaxNotedFaults + 10; ++block) touch({block});
  EXPECT_EQ(state_->recorded_count().get(), kMaxNotedFaults);
  EXPECT_TRUE(has_data(kMaxNotedFaults + 9));
}

TEST_F(FaultServerTest, HostWithoutAPageIsRetriedAndThreadsAreNotWoken) {
  make_vm(zeros_of("dddddddd"));
  serve();
  const std::size_t wakes = vm_->wakes();
  vm_->small_pages = 0;
  touch({3});
  ASSERT_TRUE(faults().next_retry_ns());
  EXPECT_EQ(*faults().next_retry_ns(), vm_->monotonic_ns() + 10 * kMillisecondNs);
  const std::string note = faults().take_note();
  EXPECT_NE(note.find("the host has no page of 4 KiB for process 4711 at 0x700000003000"),
            std::string::npos)
      << note;
  EXPECT_EQ(faults().take_note(), "");

  const std::size_t fills = vm_->fills();
  touch({4});
  faults().retry();
  EXPECT_EQ(vm_->fills(), fills) << "nothing is tried before it is time";
  vm_->advance(10 * kMillisecondNs);
  faults().retry();
  EXPECT_EQ(vm_->fills(), fills + 1);
  EXPECT_EQ(*faults().next_retry_ns(), vm_->monotonic_ns() + 20 * kMillisecondNs);
  EXPECT_EQ(vm_->wakes(), wakes);
  EXPECT_EQ(vm_->unread(), 0);

  vm_->small_pages = 100;
  vm_->advance(20 * kMillisecondNs);
  faults().retry();
  EXPECT_FALSE(faults().next_retry_ns());
  EXPECT_TRUE(has_data(3));
  EXPECT_EQ(faults().take_note(), "the page for process 4711 is available again");
  EXPECT_EQ(vm_->unread(), 1) << "the other thread was woken and faults again";
  faults().handle_events();
  EXPECT_TRUE(has_data(4));
  EXPECT_EQ(vm_->waiting(), 0);
}

TEST_F(FaultServerTest, LastingShortageKillsTheVm) {
  make_vm(zeros_of("dddddddd"));
  serve();
  vm_->small_pages = 0;
  touch({3});
  for (int i = 0; i < 1000 && state() == SessionState::kServing; ++i) {
    vm_->advance(*faults().next_retry_ns() - vm_->monotonic_ns());
    faults().retry();
  }
  EXPECT_EQ(state(), SessionState::kKilled);
  EXPECT_TRUE(vm_->was_killed());
  EXPECT_EQ(vm_->poisoned(), std::set<std::uint64_t>{address(3)});
  EXPECT_NE(failure().find("within 30 s"), std::string::npos) << failure();
  EXPECT_FALSE(faults().next_retry_ns());
}

TEST_F(FaultServerTest, EndlessRemovesDoNotPostponeTheEndOfAShortage) {
  make_vm(std::vector<bool>(64));
  serve();
  vm_->small_pages = 0;
  touch({3});
  vm_->around_calls = [&] {
    if (vm_->unread() == 0) vm_->give_back(address(40), address(41));
  };
  const std::uint64_t started_ns = vm_->monotonic_ns();
  for (int i = 0; i < 1000 && state() == SessionState::kServing; ++i) {
    vm_->advance(*faults().next_retry_ns() - vm_->monotonic_ns());
    faults().retry();
  }
  EXPECT_EQ(state(), SessionState::kKilled);
  EXPECT_TRUE(vm_->was_killed());
  EXPECT_LT(vm_->monotonic_ns() - started_ns, 31 * kSecondNs);
  EXPECT_NE(failure().find("within 30 s, or the guest kept giving memory back"), std::string::npos)
      << failure();
}

TEST_F(FaultServerTest, RetryReadsARemoveAndFillsThePageThen) {
  make_vm(zeros_of("dddddddd"));
  serve();
  vm_->small_pages = 0;
  touch({3});
  vm_->small_pages = 100;
  vm_->give_back(address(3), address(4));
  vm_->touch(address(5));
  vm_->advance(10 * kMillisecondNs);
  faults().retry();
  EXPECT_TRUE(has_zeros(3)) << "it was given back";
  EXPECT_FALSE(faults().next_retry_ns());
  faults().handle_events();
  EXPECT_TRUE(has_data(5));
  EXPECT_EQ(vm_->waiting(), 0);
}

TEST_F(FaultServerTest, EmptyPoolOfHugePagesIsAShortageAlthoughTheKernelSaysPresent) {
  make_vm(std::vector<bool>(2 * kHugePageBlocks), kHugePageBytes);
  serve();
  vm_->huge_pages = 1;
  touch({5, 700, 900});
  EXPECT_TRUE(has_data(5));
  EXPECT_TRUE(has_data(511));
  EXPECT_TRUE(is_missing(700));
  ASSERT_TRUE(faults().next_retry_ns());
  EXPECT_NE(faults().take_note().find("vm.nr_hugepages"), std::string::npos);
  EXPECT_EQ(counters().present_faults.get(), 0);
  EXPECT_EQ(vm_->unread(), 0) << "no thread was woken";
  vm_->huge_pages = 1;
  vm_->advance(10 * kMillisecondNs);
  faults().retry();
  EXPECT_TRUE(has_data(700));
  EXPECT_EQ(vm_->waiting(), 0);
}

TEST_F(FaultServerTest, PresentHugePageIsNotAShortage) {
  make_vm(std::vector<bool>(kHugePageBlocks), kHugePageBytes);
  serve();
  vm_->huge_pages = 1;
  touch({5, 6, 7});
  EXPECT_EQ(counters().present_faults.get(), 2);
  EXPECT_FALSE(faults().next_retry_ns());
  EXPECT_EQ(vm_->waiting(), 0);
}

TEST_F(FaultServerTest, HugePageHasZerosWhereBlocksWereGivenBack) {
  std::vector<bool> zeros(kHugePageBlocks);
  zeros[100] = true;
  make_vm(zeros, kHugePageBytes);
  serve();
  vm_->give_back(address(0), address(3));
  touch({50});
  EXPECT_TRUE(has_zeros(0));
  EXPECT_TRUE(has_zeros(2));
  EXPECT_TRUE(has_data(3));
  EXPECT_TRUE(has_zeros(100));
  EXPECT_TRUE(has_data(511));
}

TEST_F(FaultServerTest, SuccessorAppliesWhatItsPredecessorReadAndDidNotHandle) {
  struct Killed {};
  make_vm(std::vector<bool>(64));
  serve();
  vm_->give_back(address(3), address(4));
  vm_->touch(address(3));
  vm_->touch(address(9));
  vm_->around_calls = [&] {
    if (vm_->unread() == 0) throw Killed();
  };
  EXPECT_THROW(faults().handle_events(), Killed);
  EXPECT_EQ(vm_->unread(), 0) << "only the slots have the events";
  vm_->around_calls = [] {};
  serve();
  EXPECT_EQ(counters().removes.get(), 1);
  faults().handle_events();
  EXPECT_TRUE(has_zeros(3));
  EXPECT_TRUE(has_data(9));
  EXPECT_EQ(vm_->waiting(), 0);
}

class RandomFaultsTest : public testing::TestWithParam<int> {};

TEST_P(RandomFaultsTest, MemoryIsAlwaysThatOfAPlainArrayOfPages) {
  RandomServing serving;
  serving.seed = static_cast<std::uint64_t>(GetParam());
  serving.kills_servers = GetParam() % 2 == 1;
  EXPECT_EQ(serve_at_random(serving), "") << "seed " << serving.seed;
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomFaultsTest, testing::Range(0, 12));

}  // namespace
}  // namespace lamina::pager
