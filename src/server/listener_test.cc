#include "server/listener.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

#include "no_free_descriptor.h"
#include "scratch_directory.h"
#include "server/control_socket.h"
#include "server/metrics_socket.h"

namespace lamina::server {
namespace {

namespace fs = std::filesystem;

/// Calls `expire` at the times that it returns, until a back-off ends.
void wait_for_end(const std::function<int()>& expire) {
  for (int wait_ms = expire(); wait_ms != 0; wait_ms = expire()) {
    ASSERT_GT(wait_ms, 0) << "no back-off";
    ::poll(nullptr, 0, wait_ms);
  }
}

class ListenerTest : public testing::Test {
 protected:
  void SetUp() override { fs::create_directory(root_ / "run"); }

  static Listener bound(const fs::path& path) {
    auto listener =
        Listener::bind(path.string(), {.group = {}, .replace = os::ReplaceSocket::kAlways});
    EXPECT_TRUE(listener) << listener.error().message;
    return listener ? std::move(*listener) : Listener();
  }

  [[nodiscard]] fs::path path() const { return root_ / "run" / "socket"; }

  tests::ScratchDirectory scratch_;
  fs::path root_ = scratch_.path();
};

TEST_F(ListenerTest, RemovesItsSocket) {
  const Listener listener = bound(path());
  EXPECT_TRUE(fs::exists(path()));
  listener.remove();
  EXPECT_FALSE(fs::exists(path()));
}

TEST_F(ListenerTest, LeavesTheSocketThatHasTakenItsName) {
  const Listener before = bound(path());
  const Listener after = bound(path());
  before.remove();
  EXPECT_TRUE(fs::exists(path()));
  after.remove();
  EXPECT_FALSE(fs::exists(path()));
}

TEST_F(ListenerTest, FindsItsSocketWhereTheDirectoryHasBeenMoved) {
  const Listener listener = bound(path());
  fs::rename(root_ / "run", root_ / "moved");
  fs::create_directory(root_ / "run");
  const Listener other = bound(path());
  listener.remove();
  EXPECT_FALSE(fs::exists(root_ / "moved" / "socket"));
  EXPECT_TRUE(fs::exists(path()));
  other.remove();
}

TEST_F(ListenerTest, AControlSocketBacksOff) {
  auto socket = ControlSocket::create(path().string(), {}, os::ReplaceSocket::kIfDead);
  ASSERT_TRUE(socket);
  const auto client = os::connect_to(path().string());
  ASSERT_TRUE(client);
  {
    const tests::NoFreeDescriptor shortage;
    socket->handle({});
  }
  EXPECT_EQ(socket->fd(), -1);
  wait_for_end([&] { return socket->expire(); });
  pollfd event{socket->fd(), POLLIN, 0};
  EXPECT_EQ(::poll(&event, 1, 0), 1);
  socket->handle({});
  char byte = 0;
  EXPECT_EQ(::recv(client->get(), &byte, 1, MSG_DONTWAIT), 1);
}

TEST_F(ListenerTest, AMetricsSocketBacksOff) {
  auto socket = MetricsSocket::create(path().string(), {}, os::ReplaceSocket::kIfDead);
  ASSERT_TRUE(socket);
  const auto client = os::connect_to(path().string());
  ASSERT_TRUE(client);
  constexpr std::string_view kRequest = "GET / HTTP/1.1\r\n\r\n";
  ASSERT_EQ(::send(client->get(), kRequest.data(), kRequest.size(), MSG_NOSIGNAL),
            static_cast<ssize_t>(kRequest.size()));
  const auto metrics = [] { return std::string("lamina_up 1\n"); };
  {
    const tests::NoFreeDescriptor shortage;
    socket->handle(metrics);
  }
  EXPECT_EQ(socket->fd(), -1);
  wait_for_end([&] { return socket->expire(); });
  pollfd event{socket->fd(), POLLIN, 0};
  EXPECT_EQ(::poll(&event, 1, 0), 1);
  socket->handle(metrics);
  char byte = 0;
  EXPECT_EQ(::recv(client->get(), &byte, 1, MSG_DONTWAIT), 1);
}

}  // namespace
}  // namespace lamina::server
