// A listening socket, and the back-off after accept(2) fails.
//
// accept(2) usually fails because no descriptor is free. The connection stays pending, so that the
// socket stays readable: a caller that polled it without a pause would use a whole processor.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <utility>

#include "lamina/result.h"
#include "os/fd.h"

namespace lamina::os {

/// Used by one thread.
class ListeningSocket {
 public:
  /// Back-off after accept(2) fails.
  static constexpr std::chrono::milliseconds kBackOff{100};

  /// Invalid: to be assigned to.
  ListeningSocket() = default;
  /// `socket`: non-blocking, as listen_at() makes it.
  explicit ListeningSocket(Fd socket) : socket_(std::move(socket)) {}

  [[nodiscard]] bool valid() const { return socket_.valid(); }
  [[nodiscard]] int fd() const { return socket_.get(); }
  /// To be polled: fd(), or -1 during a back-off.
  [[nodiscard]] int polled_fd() const { return backs_off() ? -1 : fd(); }
  [[nodiscard]] bool backs_off() const { return back_off_end_.has_value(); }

  /// The next connection, non-blocking; nullopt if none is pending. `path` names the socket in an
  /// error. A failure, also for want of memory, begins a back-off, which only expire() ends.
  Result<std::optional<Fd>> accept(const std::string& path) noexcept;

  /// Ends a back-off whose time is over. Returns the milliseconds until it must be called again: 0
  /// if it has just ended a back-off, so that a caller that has read polled_fd() before does so
  /// again; -1 without a back-off.
  int expire();

 private:
  using Clock = std::chrono::steady_clock;

  Fd socket_;
  std::optional<Clock::time_point> back_off_end_;
};

}  // namespace lamina::os
