#include "os/spawn.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <thread>

#include "os/fd.h"
#include "os/process.h"

namespace lamina::os {
namespace {

constexpr std::chrono::minutes kLong{1};

/// The output of a shell program that was started from a thread with nice value 10.
std::string said_by_detached(const std::string& program) {
  std::array<int, 2> ends{};
  EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  const Fd reading(ends[0]);
  Fd writing(ends[1]);
  std::thread([&] {
    ::setpriority(PRIO_PROCESS, 0, 10);
    SpawnRequest request;
    request.words = {"/bin/sh", "-c", program};
    request.variables = {{"GIVEN", "yes"}};
    request.output = writing.get();
    const auto started = spawn_detached(request);
    ASSERT_TRUE(started) << started.error().message;
    EXPECT_TRUE(wait_for_end(started->pidfd.get(), kLong).value_or(false));
    EXPECT_EQ(::waitpid(started->pid, nullptr, WNOHANG), -1) << "it is a child";
  }).join();
  writing.reset();
  std::string said;
  std::array<char, 256> piece{};
  for (ssize_t count = 0; (count = ::read(reading.get(), piece.data(), piece.size())) > 0;) {
    said.append(piece.data(), static_cast<std::size_t>(count));
  }
  return said;
}

TEST(SpawnTest, DetachedProcessStartsInACleanState) {
  ::setenv("WATCHDOG_USEC", "1000", 1);   // NOLINT(concurrency-mt-unsafe): no other thread
  const int open = ::dup(STDERR_FILENO);  // not closed on exec
  EXPECT_EQ(said_by_detached("umask; nice; echo $GIVEN $WATCHDOG_USEC; ulimit -f; "
                             "test -e /proc/$$/fd/" +
                             std::to_string(open) + " || echo closed"),
            "0077\n0\nyes\nunlimited\nclosed\n");
  ::close(open);
  ::unsetenv("WATCHDOG_USEC");  // NOLINT(concurrency-mt-unsafe): as above
}

TEST(SpawnTest, DetachedSpawnWorksWhileSigchldIsIgnored) {
  struct sigaction ignore{};
  struct sigaction before{};
  ignore.sa_handler = SIG_IGN;
  ::sigaction(SIGCHLD, &ignore, &before);
  EXPECT_EQ(said_by_detached("grep -q '^SigIgn:.*[1-9a-f]' /proc/self/status || echo none"),
            "none\n");
  ::sigaction(SIGCHLD, &before, nullptr);
}

TEST(SpawnTest, MissingProgramIsFailedNotNotFound) {
  SpawnRequest request;
  request.words = {"/nowhere/lamina", "serve"};
  const auto detached = spawn_detached(request);
  ASSERT_FALSE(detached);
  EXPECT_EQ(detached.error().kind, ErrorKind::kFailed);
  EXPECT_EQ(detached.error().message, "start '/nowhere/lamina': no such file or directory");
  const auto child = spawn_child(request);
  ASSERT_FALSE(child);
  EXPECT_EQ(child.error().kind, ErrorKind::kFailed);
}

}  // namespace
}  // namespace lamina::os
