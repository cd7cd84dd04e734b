#include "os/process_mark.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <new>
#include <vector>

#include "os/process.h"

namespace lamina::os {
namespace {

/// A child that waits to be killed.
class ProcessMarkTest : public testing::Test {
 protected:
  void SetUp() override {
    child_ = ::fork();
    ASSERT_GE(child_, 0);
    if (child_ == 0) {
      while (true) ::pause();
    }
  }

  void TearDown() override { end(); }

  void end() {
    if (child_ <= 0) return;
    ::kill(child_, SIGKILL);
    ::waitpid(child_, nullptr, 0);
    child_ = -1;
  }

  pid_t child_ = -1;
};

TEST_F(ProcessMarkTest, NewProcessHasNoMark) {
  const auto mark = process_mark(child_);
  ASSERT_TRUE(mark) << mark.error().message;
  EXPECT_FALSE(*mark);
}

TEST_F(ProcessMarkTest, ExchangeReturnsThePreviousMark) {
  const std::uint64_t first = kProcessMarkBit | 17;
  const std::uint64_t second = kProcessMarkBit | (kProcessMarkBit - 1);
  auto before = exchange_process_mark(child_, first);
  ASSERT_TRUE(before) << before.error().message;
  EXPECT_FALSE(*before);
  EXPECT_EQ(process_mark(child_).value(), first);
  before = exchange_process_mark(child_, second);
  ASSERT_TRUE(before);
  EXPECT_EQ(*before, first);
  EXPECT_EQ(process_mark(child_).value(), second);
  EXPECT_FALSE(process_mark(::getpid()).value()) << "our own is another";
}

TEST_F(ProcessMarkTest, OrdinaryLimitIsNotAMark) {
  const rlimit limit{4711, RLIM_INFINITY};
  ASSERT_EQ(::prlimit(child_, RLIMIT_LOCKS, &limit, nullptr), 0);
  const auto mark = process_mark(child_);
  ASSERT_TRUE(mark);
  EXPECT_FALSE(*mark);
}

TEST_F(ProcessMarkTest, EndedProcessIsNotFound) {
  const pid_t pid = child_;
  end();
  const auto mark = process_mark(pid);
  ASSERT_FALSE(mark);
  EXPECT_EQ(mark.error().kind, ErrorKind::kNotFound);
  const auto exchanged = exchange_process_mark(pid, kProcessMarkBit);
  ASSERT_FALSE(exchanged);
  EXPECT_EQ(exchanged.error().kind, ErrorKind::kNotFound);
}

TEST_F(ProcessMarkTest, OnlyOneOfTwoPidfdsGetsTheLock) {
  const auto one = open_process(child_);
  const auto two = open_process(child_);
  ASSERT_TRUE(one);
  ASSERT_TRUE(two);
  ASSERT_TRUE(try_lock_process(one->get(), ::geteuid()).value());
  const auto other = try_lock_process(two->get(), ::geteuid());
  ASSERT_TRUE(other);
  const auto self = open_process(::getpid());
  ASSERT_TRUE(self);
  EXPECT_TRUE(try_lock_process(self->get(), ::geteuid()).value()) << "another process' is another";
  // Before Linux 6.9 there is no such lock.
  if (*other && ::flock(two->get(), LOCK_EX | LOCK_NB) == 0) GTEST_SKIP() << "no pidfs";
  EXPECT_FALSE(*other);
}

// A lock that is released while a process looks who holds it is nobody's, not a stranger's.
TEST_F(ProcessMarkTest, OfProcessesThatComeAndGoOnlyOneHasTheLock) {
  constexpr int kProcesses = 4;
  constexpr int kRounds = 400;
  const auto probe = open_process(child_);
  ASSERT_TRUE(probe);
  struct statfs system{};
  ASSERT_EQ(::fstatfs(probe->get(), &system), 0);
  if (system.f_type != 0x50494446) GTEST_SKIP() << "no pidfs";
  void* const shared = ::mmap(nullptr, sizeof(std::atomic<int>), PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(shared, MAP_FAILED);
  auto& holders = *new (shared) std::atomic<int>(0);
  const auto take_turns = [&] {
    for (int i = 0; i < kRounds; ++i) {
      const auto pidfd = open_process(child_);
      if (!pidfd || !try_lock_process(pidfd->get(), ::geteuid()).value_or(false)) continue;
      if (holders.fetch_add(1) != 0) return 1;
      ::sched_yield();
      holders.fetch_sub(1);
    }
    return 0;
  };
  std::vector<pid_t> processes;
  processes.reserve(kProcesses);
  for (int i = 0; i < kProcesses; ++i) {
    const pid_t pid = ::fork();
    ASSERT_GE(pid, 0);
    if (pid == 0) ::_exit(take_turns());
    processes.push_back(pid);
  }
  for (const pid_t pid : processes) {
    int status = 0;
    ASSERT_EQ(::waitpid(pid, &status, 0), pid);
    EXPECT_EQ(status, 0) << "two had the lock";
  }
  ::munmap(shared, sizeof(std::atomic<int>));
}

}  // namespace
}  // namespace lamina::os
