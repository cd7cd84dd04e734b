#include "lifecycle/hook.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <thread>

namespace lamina::lifecycle {
namespace {

using std::chrono::minutes;

/// This program's action for a signal, as it was when this goes.
class IgnoredSignal {
 public:
  explicit IgnoredSignal(int number) : number_(number) {
    struct sigaction ignore{};
    ignore.sa_handler = SIG_IGN;
    ::sigaction(number, &ignore, &before_);
  }
  IgnoredSignal(const IgnoredSignal&) = delete;
  IgnoredSignal& operator=(const IgnoredSignal&) = delete;
  IgnoredSignal(IgnoredSignal&&) = delete;
  IgnoredSignal& operator=(IgnoredSignal&&) = delete;
  ~IgnoredSignal() { ::sigaction(number_, &before_, nullptr); }

 private:
  int number_;
  struct sigaction before_{};
};

Status run(const std::string& command) { return run_hook(command, {{"NAME", "a"}}, minutes(1)); }

void expect_verdicts() {
  const auto good = run("test $NAME = a");
  EXPECT_TRUE(good) << good.error().message;
  const auto bad = run("exit 3");
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().message, "the hook 'exit 3' ended with 3");
  EXPECT_FALSE(run("false"));
}

TEST(HookTest, FailsUnlessItExitsWithZero) { expect_verdicts(); }

TEST(HookTest, VerdictIsKnownWhenTheProgramIgnoresItsChildren) {
  const IgnoredSignal ignored(SIGCHLD);
  expect_verdicts();
}

TEST(HookTest, VerdictIsKnownWhenAThreadWaitsForEveryChild) {
  std::atomic<bool> over = false;
  std::thread reaper([&] {
    while (!over) {
      if (::waitpid(-1, nullptr, WNOHANG) <= 0) std::this_thread::yield();
    }
  });
  expect_verdicts();
  over = true;
  reaper.join();
}

TEST(HookTest, StartsWithDefaultSignalActions) {
  const IgnoredSignal pipe(SIGPIPE);
  const IgnoredSignal file_size(SIGXFSZ);
  sigset_t all{};
  sigset_t before{};
  sigfillset(&all);
  ::pthread_sigmask(SIG_BLOCK, &all, &before);
  const auto writes = run("(while :; do echo x; done) | head -n 1 > /dev/null");
  const auto clean =
      run("grep -Eq '^SigIgn:.0000000[01][08]0000000$' /proc/self/status || exit 1;"
          "grep -Eq '^SigBlk:.*[1-9a-f]' /proc/self/status && exit 2; exit 0");
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  EXPECT_TRUE(writes);
  EXPECT_TRUE(clean) << clean.error().message;
}

TEST(HookTest, InheritsNoDescriptors) {
  const int open = ::dup(STDERR_FILENO);  // not closed on exec
  const auto clean =
      run("test ! -e /proc/self/fd/3 && test ! -e /proc/self/fd/" + std::to_string(open));
  EXPECT_TRUE(clean) << clean.error().message;
  ::close(open);
}

TEST(HookTest, IsKilledWithItsChildrenAfterTheTimeout) {
  const auto late = run_hook("sleep 1000 & sleep 1000", {}, std::chrono::milliseconds(100));
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().message,
            "the hook 'sleep 1000 & sleep 1000' took more than 100 ms and was killed");
}

TEST(HookTest, KilledHookIsAnError) {
  const auto killed = run("kill -9 $$");
  ASSERT_FALSE(killed);
  EXPECT_EQ(killed.error().message, "the hook 'kill -9 $$' was killed");
  const auto child = run("sh -c 'kill -15 $$'");
  ASSERT_FALSE(child);
  EXPECT_NE(child.error().message.find("was ended by signal 15"), std::string::npos);
}

}  // namespace
}  // namespace lamina::lifecycle
