#include "daemon/listener.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <chrono>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include "daemon/messages.h"
#include "http/exchange.h"
#include "no_free_descriptor.h"
#include "os/fd.h"
#include "os/unix_socket.h"
#include "scratch_directory.h"

namespace lamina::daemon {
namespace {

class DaemonListenerTest : public testing::Test {
 protected:
  DaemonListenerTest() {
    http::ServerThread::Options options;
    options.server.listeners.resize(2, {.max_connections = 4, .max_connections_of_one_owner = 4});
    options.server.error_response = [](unsigned status, const std::string& message) {
      return http::ServerResponse{status, message, "text/plain", {}};
    };
    options.queue_of = [](const http::ServerRequest&) { return std::nullopt; };
    options.handle = [](const http::ServerRequest&) {
      return http::ServerResponse{200, "served", "text/plain", {}};
    };
    auto server = http::ServerThread::start(std::move(options));
    if (!server) throw std::runtime_error(server.error().message);
    server_ = std::move(*server);
  }

  tests::ScratchDirectory scratch_;
  std::unique_ptr<http::ServerThread> server_;
};

TEST_F(DaemonListenerTest, BacksOffWhileNoDescriptorIsFreeAndThenServes) {
  const std::string path = scratch_.file("socket");
  auto listener = Listener::open(path, 0600, kMetricsListener);
  ASSERT_TRUE(listener) << listener.error().message;
  const auto is_served = [](const os::Fd& client) {
    const auto done =
        http::exchange(client.get(), {"GET", "/", {}}, {.timeout = std::chrono::minutes(1)});
    if (!done.response) ADD_FAILURE() << done.response.error().message;
    return done.response && done.response->body == "served";
  };
  // The server's thread has started, too: the undefined behaviour sanitizer needs a descriptor to
  // look at a type for the first time.
  const auto first = os::connect_to(path);
  ASSERT_TRUE(first);
  EXPECT_FALSE(listener->accept(*server_, {})) << "no further connection is pending";
  EXPECT_TRUE(is_served(*first));
  const auto client = os::connect_to(path);
  ASSERT_TRUE(client);
  {
    const tests::NoFreeDescriptor shortage;
    EXPECT_FALSE(listener->accept(*server_, {}));
  }
  EXPECT_EQ(listener->polled_fd(), -1);
  for (int wait_ms = listener->expire(); wait_ms != 0; wait_ms = listener->expire()) {
    ASSERT_GT(wait_ms, 0) << "no back-off";
    ::poll(nullptr, 0, wait_ms);
  }
  pollfd event{listener->polled_fd(), POLLIN, 0};
  EXPECT_EQ(::poll(&event, 1, 0), 1);
  EXPECT_FALSE(listener->accept(*server_, {})) << "no further connection is pending";
  EXPECT_TRUE(is_served(*client));
}

}  // namespace
}  // namespace lamina::daemon
