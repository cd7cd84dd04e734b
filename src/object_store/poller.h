// A descriptor that becomes readable when one of several descriptors is ready or a time has come.
#pragma once

#include <chrono>
#include <optional>
#include <vector>

#include "lamina/result.h"
#include "os/fd.h"

namespace lamina::object_store {

/// epoll(7) with a timerfd(2) in it. Not thread-safe.
class Poller {
 public:
  using Clock = std::chrono::steady_clock;

  struct Ready {
    int fd = -1;
    bool readable = false;
    bool writable = false;
    bool broken = false;  ///< EPOLLERR or EPOLLHUP
  };

  static Result<Poller> create();

  /// For poll(2): POLLIN when wait(0) would return something or the time of wake_at() has come.
  [[nodiscard]] int fd() const { return epoll_.get(); }

  /// Waits for `fd` from now on, in place of what it waited for before.
  Status watch(int fd, bool for_reading, bool for_writing);
  /// REQUIRES: `fd` is still open.
  void forget(int fd);

  /// Sets the time; nullopt: none.
  void wake_at(std::optional<Clock::time_point> time);

  /// The descriptors that are ready, after waiting up to `timeout` for one of them or for the time.
  Result<std::vector<Ready>> wait(std::chrono::milliseconds timeout);

 private:
  os::Fd epoll_;
  os::Fd timer_;
  std::optional<Clock::time_point> wake_;
};

}  // namespace lamina::object_store
