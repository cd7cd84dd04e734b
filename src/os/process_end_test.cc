#include "os/process_end.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

namespace lamina::os {
namespace {

/// Longer than a killed process takes to end on a busy machine.
constexpr std::chrono::seconds kLongestEnd{60};

struct Child {
  NamedProcess process;
  Fd pidfd;
};

/// A child that waits to be killed, or exits at once.
Child start(int exit_code = -1) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    if (exit_code < 0) ::pause();
    ::_exit(exit_code);
  }
  Child child{{.pid = pid, .start_time = 0}, {}};
  child.pidfd = std::move(*open_process(pid));
  child.process.start_time = *start_time_of(pid);
  return child;
}

TEST(ProcessEndTest, RunningProcessIsNotWaitedFor) {
  const Child child = start();
  EXPECT_FALSE(is_ending(child.pidfd.get(), child.process));
  EXPECT_FALSE(wait_if_ending(child.pidfd.get(), child.process));
  EXPECT_EQ(describe_end(child.pidfd.get(), child.process), "");
  ::kill(child.process.pid, SIGKILL);
  ::waitpid(child.process.pid, nullptr, 0);
}

TEST(ProcessEndTest, EndOfAZombieIsDescribed) {
  const Child killed = start();
  ::kill(killed.process.pid, SIGTERM);
  ASSERT_TRUE(wait_for_end(killed.pidfd.get(), kLongestEnd).value_or(false));
  EXPECT_TRUE(is_ending(killed.pidfd.get(), killed.process));
  EXPECT_EQ(describe_end(killed.pidfd.get(), killed.process), ": killed by signal 15");
  ::waitpid(killed.process.pid, nullptr, 0);
  const Child exited = start(7);
  ASSERT_TRUE(wait_for_end(exited.pidfd.get(), kLongestEnd).value_or(false));
  EXPECT_EQ(describe_end(exited.pidfd.get(), exited.process), ": exit code 7");
  ::waitpid(exited.process.pid, nullptr, 0);
}

TEST(ProcessEndTest, ReapedProcessHasEnded) {
  const Child child = start(7);
  ::waitpid(child.process.pid, nullptr, 0);
  EXPECT_TRUE(wait_if_ending(child.pidfd.get(), child.process));
  // Before Linux 6.15 the status of a reaped process is unknown.
  const std::string how = describe_end(child.pidfd.get(), child.process);
  EXPECT_TRUE(how.empty() || how == ": exit code 7") << how;
}

TEST(ProcessEndTest, ReusedPidIsDetected) {
  Child child = start();
  ++child.process.start_time;
  EXPECT_FALSE(is_ending(child.pidfd.get(), child.process));
  ::kill(child.process.pid, SIGKILL);
  ::waitpid(child.process.pid, nullptr, 0);
}

}  // namespace
}  // namespace lamina::os
