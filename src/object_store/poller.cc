#include "object_store/poller.h"

#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <limits>

#include "base/error.h"
#include "os/clock.h"

namespace lamina::object_store {
namespace {

constexpr const char* kPollerName = "object store";

std::uint32_t events_of(bool for_reading, bool for_writing) {
  return (for_reading ? std::uint32_t{EPOLLIN} : 0U) | (for_writing ? std::uint32_t{EPOLLOUT} : 0U);
}

int milliseconds_of(std::chrono::milliseconds timeout) {
  return static_cast<int>(
      std::clamp<std::int64_t>(timeout.count(), 0, std::numeric_limits<int>::max()));
}

}  // namespace

Result<Poller> Poller::create() {
  Poller poller;
  poller.epoll_ = os::Fd(::epoll_create1(EPOLL_CLOEXEC));
  if (!poller.epoll_.valid()) return system_failure("epoll_create", kPollerName, errno);
  poller.timer_ = os::Fd(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
  if (!poller.timer_.valid()) return system_failure("timerfd_create", kPollerName, errno);
  LAMINA_RETURN_IF_ERROR(poller.watch(poller.timer_.get(), true, false));
  return poller;
}

Status Poller::watch(int fd, bool for_reading, bool for_writing) {
  epoll_event event{};
  event.events = events_of(for_reading, for_writing);
  event.data.fd = fd;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event) == 0) return {};
  if (errno == ENOENT && ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0) return {};
  return system_failure("epoll_ctl", kPollerName, errno);
}

void Poller::forget(int fd) {
  // It is not registered if watch() failed.
  static_cast<void>(::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr));
}

void Poller::wake_at(std::optional<Clock::time_point> time) {
  if (time == wake_) return;
  wake_ = time;
  itimerspec setting{};
  if (time) {
    // steady_clock is CLOCK_MONOTONIC. All zeros would stop the timer.
    const std::int64_t at = std::max<std::int64_t>(
        1, std::chrono::duration_cast<std::chrono::nanoseconds>(time->time_since_epoch()).count());
    setting.it_value.tv_sec = at / os::kNanosecondsPerSecond;
    setting.it_value.tv_nsec = at % os::kNanosecondsPerSecond;
  }
  // Cannot fail with a valid descriptor and a valid time.
  static_cast<void>(::timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &setting, nullptr));
}

Result<std::vector<Poller::Ready>> Poller::wait(std::chrono::milliseconds timeout) {
  std::array<epoll_event, 64> events{};
  const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()),
                                 milliseconds_of(timeout));
  if (count < 0) {
    // A signal: the caller may want to look at something.
    if (errno == EINTR) return std::vector<Ready>{};
    return system_failure("epoll_wait", kPollerName, errno);
  }
  std::vector<Ready> ready;
  for (int i = 0; i < count; ++i) {
    const epoll_event& event = events.at(static_cast<std::size_t>(i));
    const int fd = event.data.fd;
    const std::uint32_t bits = event.events;
    if (fd == timer_.get()) {
      wake_at(std::nullopt);  // also makes it unreadable
      continue;
    }
    ready.push_back(Ready{.fd = fd,
                          .readable = (bits & EPOLLIN) != 0,
                          .writable = (bits & EPOLLOUT) != 0,
                          .broken = (bits & (EPOLLERR | EPOLLHUP)) != 0});
  }
  return ready;
}

}  // namespace lamina::object_store
