#include "os/notify.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstring>
#include <string>

#include "os/fd.h"

namespace lamina::os {
namespace {

/// A service manager's socket; "@…" is in the abstract namespace.
Fd manager_at(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(&address.sun_path[0], path.data(), path.size());
  const bool is_abstract = path.front() == '@';
  if (is_abstract) address.sun_path[0] = '\0';
  const std::size_t length = offsetof(sockaddr_un, sun_path) + path.size() + (is_abstract ? 0 : 1);
  Fd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(
      ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), static_cast<socklen_t>(length)),
      0);
  return fd;
}

/// The next pending message; empty if there is none.
std::string told(const Fd& manager) {
  std::array<char, 256> text{};
  const ssize_t length = ::recv(manager.get(), text.data(), text.size(), MSG_DONTWAIT);
  return length < 0 ? "" : std::string(text.data(), static_cast<std::size_t>(length));
}

class NotifyTest : public testing::Test {
 protected:
  void TearDown() override {
    for (const char* name : {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}) ::unsetenv(name);
  }
};

TEST_F(NotifyTest, NotifiesPathAndAbstractSockets) {
  const std::string path = testing::TempDir() + "notify-" + std::to_string(::getpid());
  for (const std::string& name : {path, "@lamina-notify-" + std::to_string(::getpid())}) {
    const Fd manager = manager_at(name);
    ::setenv("NOTIFY_SOCKET", name.c_str(), 1);
    const ServiceManager service = ServiceManager::from_environment();
    service.notify_ready();
    EXPECT_EQ(told(manager), "READY=1\nMAINPID=" + std::to_string(::getpid()));
    service.notify("STOPPING=1");
    EXPECT_EQ(told(manager), "STOPPING=1");
  }
  ::unlink(path.c_str());
}

TEST_F(NotifyTest, EnvironmentVariablesAreRemovedAndRestored) {
  ::setenv("NOTIFY_SOCKET", "@nobody", 1);
  ::setenv("WATCHDOG_USEC", "4000000", 1);
  const ServiceManager service = ServiceManager::from_environment();
  EXPECT_EQ(::getenv("NOTIFY_SOCKET"), nullptr);
  EXPECT_EQ(::getenv("WATCHDOG_USEC"), nullptr);
  service.notify_ready();  // no process listens: nothing happens
  service.to_environment();
  EXPECT_STREQ(::getenv("NOTIFY_SOCKET"), "@nobody");
  EXPECT_STREQ(::getenv("WATCHDOG_USEC"), "4000000");
  EXPECT_EQ(::getenv("WATCHDOG_PID"), std::to_string(::getpid()));
}

TEST_F(NotifyTest, WatchdogIsFedAtOnceAndThenAtHalfItsInterval) {
  const std::string name = "@lamina-watchdog-" + std::to_string(::getpid());
  const Fd manager = manager_at(name);
  ::setenv("NOTIFY_SOCKET", name.c_str(), 1);
  ::setenv("WATCHDOG_USEC", "3600000000", 1);
  ServiceManager service = ServiceManager::from_environment();
  constexpr int kHalfMs = 1'800'000;
  EXPECT_GT(service.feed_watchdog(), kHalfMs - 1000);
  EXPECT_EQ(told(manager), "WATCHDOG=1");
  EXPECT_LE(service.feed_watchdog(), kHalfMs + 1);
  EXPECT_EQ(told(manager), "");
}

TEST_F(NotifyTest, WatchdogOfAnotherProcessIsNotFed) {
  ::setenv("NOTIFY_SOCKET", "@nobody", 1);
  ::setenv("WATCHDOG_USEC", "1000000", 1);
  ::setenv("WATCHDOG_PID", "1", 1);
  EXPECT_EQ(ServiceManager::from_environment().feed_watchdog(), -1);
}

/// Sends READY=1 from a child process; returns its pid.
pid_t tell_from_child(const std::string& address) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::setenv("NOTIFY_SOCKET", address.c_str(), 1);
    ServiceManager::from_environment().notify_ready();
    ::_exit(0);
  }
  ::waitpid(child, nullptr, 0);
  return child;
}

TEST_F(NotifyTest, ReadyFromAnotherProcessIsIgnored) {
  const auto socket = ReadySocket::open();
  ASSERT_TRUE(socket);
  const pid_t stranger = tell_from_child(socket->address());
  EXPECT_FALSE(socket->received_ready_from(::getpid()));
  EXPECT_FALSE(socket->received_ready_from(stranger));
  tell_from_child(socket->address());
  const pid_t child = tell_from_child(socket->address());
  EXPECT_TRUE(socket->received_ready_from(child));
  EXPECT_FALSE(socket->received_ready_from(child));
}

TEST_F(NotifyTest, OtherMessagesAreNotReady) {
  const auto socket = ReadySocket::open();
  ASSERT_TRUE(socket);
  ::setenv("NOTIFY_SOCKET", socket->address().c_str(), 1);
  const ServiceManager service = ServiceManager::from_environment();
  service.notify("STATUS=READY=1");
  EXPECT_FALSE(socket->received_ready_from(::getpid()));
  service.notify("STATUS=starting");
  service.notify_ready();
  EXPECT_TRUE(socket->received_ready_from(::getpid()));
}

}  // namespace
}  // namespace lamina::os
