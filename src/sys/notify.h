// Telling a service manager how far a service is (the protocol of sd_notify(3)).
#pragma once

#include <chrono>
#include <string>

namespace lamina::sys {

/// The service manager that the environment names ($NOTIFY_SOCKET, $WATCHDOG_USEC), or nobody. What
/// is told is a hint: nothing fails, and nobody is waited for longer than a second.
class ServiceManager {
 public:
  /// Takes the variables out of the environment, so that no program started from here speaks for
  /// this one.
  static ServiceManager from_environment();

  /// Puts them back, for a program in this process' place: it takes them out again.
  void to_environment() const;

  /// Sends `state`: lines like "READY=1".
  void tell(const std::string& state) const;

  /// Tells READY=1, and which process the main one is (it may have taken another's place).
  void tell_ready() const;

  /// Tells WATCHDOG=1 when half of the time that the manager allows has passed since the last time.
  /// Returns the milliseconds until it has to be called again, -1 when nobody watches.
  int feed_watchdog();

 private:
  using Clock = std::chrono::steady_clock;

  std::string socket_;  ///< empty: nobody
  std::chrono::microseconds watchdog_{0};
  Clock::time_point next_;
};

}  // namespace lamina::sys
