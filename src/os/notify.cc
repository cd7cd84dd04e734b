#include "os/notify.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "base/error.h"
#include "lamina/uuid.h"
#include "os/fd.h"

namespace lamina::os {
namespace {

constexpr const char* kSocket = "NOTIFY_SOCKET";
constexpr const char* kWatchdog = "WATCHDOG_USEC";
constexpr const char* kWatched = "WATCHDOG_PID";

/// Returns and unsets an environment variable. REQUIRES: no other thread.
std::string take(const char* name) {
  const char* value = ::getenv(name);  // NOLINT(concurrency-mt-unsafe): one thread yet
  std::string text = value == nullptr ? "" : value;
  ::unsetenv(name);  // NOLINT(concurrency-mt-unsafe): as above
  return text;
}

std::int64_t number_in(std::string_view text) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size() ? number : 0;
}

}  // namespace

ServiceManager ServiceManager::from_environment() {
  ServiceManager manager;
  manager.socket_ = take(kSocket);
  const std::int64_t allowed_us = number_in(take(kWatchdog));
  const std::string watched = take(kWatched);
  const bool is_ours = watched.empty() || number_in(watched) == ::getpid();
  if (!manager.socket_.empty() && is_ours && allowed_us > 0) {
    manager.watchdog_ = std::chrono::microseconds(allowed_us);
  }
  return manager;
}

void ServiceManager::to_environment() const {
  // NOLINTBEGIN(concurrency-mt-unsafe): about to exec
  if (socket_.empty()) return;
  ::setenv(kSocket, socket_.c_str(), 1);
  if (watchdog_.count() == 0) return;
  ::setenv(kWatchdog, std::to_string(watchdog_.count()).c_str(), 1);
  ::setenv(kWatched, std::to_string(::getpid()).c_str(), 1);
  // NOLINTEND(concurrency-mt-unsafe)
}

void ServiceManager::notify(const std::string& state) const {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const bool is_abstract = socket_.starts_with('@');
  if (!(is_abstract || socket_.starts_with('/')) || socket_.size() >= sizeof(address.sun_path)) {
    return;
  }
  auto* path = static_cast<char*>(address.sun_path);
  std::memcpy(path, socket_.data(), socket_.size());
  if (is_abstract) path[0] = '\0';
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + socket_.size() +
                                             (is_abstract ? 0 : 1));
  const Fd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return;
  const timeval timeout{1, 0};
  static_cast<void>(::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)));
  while (::sendto(fd.get(), state.data(), state.size(), MSG_NOSIGNAL,
                  reinterpret_cast<const sockaddr*>(&address), length) < 0 &&
         errno == EINTR) {
  }
}

void ServiceManager::notify_ready() const {
  notify("READY=1\nMAINPID=" + std::to_string(::getpid()));
}

int ServiceManager::feed_watchdog() {
  if (watchdog_.count() == 0) return -1;
  const Clock::time_point now = Clock::now();
  if (now >= next_) {
    notify("WATCHDOG=1");
    next_ = now + watchdog_ / 2;
  }
  return static_cast<int>(
             std::chrono::duration_cast<std::chrono::milliseconds>(next_ - now).count()) +
         1;
}

Result<ReadySocket> ReadySocket::open() {
  std::string address = "@lamina-" + Uuid::random().to_string();
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  std::memcpy(&name.sun_path[1], address.data() + 1, address.size() - 1);
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + address.size());
  Fd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return system_failure("socket", address, errno);
  const int on = 1;
  // Set before bind(2), so that every message has its sender's credentials.
  if (::setsockopt(fd.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) != 0) {
    return system_failure("setsockopt", address, errno);
  }
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&name), length) != 0) {
    return system_failure("bind", address, errno);
  }
  return ReadySocket(std::move(address), std::move(fd));
}

bool ReadySocket::received_ready_from(pid_t process) const {
  // A bounded number per call, because other users may send endlessly.
  constexpr int kMaxAtOnce = 64;
  for (int i = 0; i < kMaxAtOnce; ++i) {
    std::array<char, 256> text{};
    iovec vector{text.data(), text.size()};
    // There is no room for descriptors, so the kernel drops them.
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(ucred))> control{};
    msghdr message{};
    message.msg_iov = &vector;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const ssize_t count = ::recvmsg(fd_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (count < 0) return false;
    const cmsghdr* first = CMSG_FIRSTHDR(&message);
    if (first == nullptr || first->cmsg_level != SOL_SOCKET ||
        first->cmsg_type != SCM_CREDENTIALS || first->cmsg_len < CMSG_LEN(sizeof(ucred))) {
      continue;
    }
    ucred sender{};
    std::memcpy(&sender, CMSG_DATA(first), sizeof(sender));
    const std::string_view said(text.data(), static_cast<std::size_t>(count));
    if (sender.pid == process && said.starts_with("READY=1")) return true;
  }
  return false;
}

}  // namespace lamina::os
