#include "server/worker_process.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <string>

#include "os/process.h"

namespace lamina::server {
namespace {

TEST(WorkerProcessTest, OneThatWasKilledIsSucceededByAProgramThatIgnoresItsChildren) {
  struct sigaction ignore{};
  struct sigaction before{};
  ignore.sa_handler = SIG_IGN;
  ::sigaction(SIGCHLD, &ignore, &before);
  {
    WorkerProcess worker(
        [](os::Fd /*control*/) {
          while (true) ::pause();
        },
        [](const std::string&) {});
    ASSERT_EQ(worker.start_if_due(), WorkerProcess::Start::kBegun);
    const pid_t first = worker.pid();
    worker.reap();
    EXPECT_EQ(worker.pid(), first);
    worker.kill();
    pollfd ended{worker.ended_fd(), POLLIN, 0};
    ASSERT_EQ(::poll(&ended, 1, -1), 1);
    worker.reap();
    EXPECT_EQ(worker.deaths(), 1U);
    while (worker.start_if_due() == WorkerProcess::Start::kNone) {
      ::poll(nullptr, 0, worker.next_start_ms());
    }
    EXPECT_NE(worker.pid(), first);
  }
  ::sigaction(SIGCHLD, &before, nullptr);
}

TEST(WorkerProcessTest, OneThatIsReplacedLivesUntilItsSuccessorHasBegunAndEndsIt) {
  WorkerProcess worker(
      [](os::Fd /*control*/) {
        while (true) ::pause();
      },
      [](const std::string&) {});
  ASSERT_EQ(worker.start_if_due(), WorkerProcess::Start::kBegun);
  const pid_t first = worker.pid();
  const auto first_pidfd = os::open_process(first);
  ASSERT_TRUE(first_pidfd);
  worker.replace();
  EXPECT_TRUE(worker.is_replacing());
  EXPECT_EQ(worker.pid(), first);
  EXPECT_FALSE(os::has_ended(first_pidfd->get()));

  ASSERT_EQ(worker.start_if_due(), WorkerProcess::Start::kBegun);
  EXPECT_NE(worker.pid(), first);
  EXPECT_EQ(worker.deaths(), 1U);
  pollfd ended{first_pidfd->get(), POLLIN, 0};
  ASSERT_EQ(::poll(&ended, 1, -1), 1);
  EXPECT_GE(worker.next_start_ms(), 0);
  EXPECT_EQ(worker.start_if_due(), WorkerProcess::Start::kNone);
  EXPECT_FALSE(worker.is_replacing());
  EXPECT_EQ(worker.next_start_ms(), -1);
}

}  // namespace
}  // namespace lamina::server
