#include "server/worker_process.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <string>

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

}  // namespace
}  // namespace lamina::server
