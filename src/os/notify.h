// Both sides of the sd_notify(3) protocol: a service that reports its state, and a parent that
// waits for READY=1.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <string>
#include <utility>

#include "lamina/result.h"
#include "os/fd.h"

namespace lamina::os {

/// The service manager named by the environment ($NOTIFY_SOCKET, $WATCHDOG_USEC), if any.
/// Notifications are hints: sending never fails and waits at most a second.
class ServiceManager {
 public:
  /// Removes the variables from the environment, so that child processes cannot notify in our name.
  static ServiceManager from_environment();

  /// Sets the variables again, for a program that this process is about to exec.
  void to_environment() const;

  /// Sends `state`: lines such as "READY=1".
  void notify(const std::string& state) const;

  /// Sends READY=1 and this process' pid, which may differ from the one the manager started.
  void notify_ready() const;

  /// Sends WATCHDOG=1 if half of the watchdog interval has passed since the last one. Returns the
  /// milliseconds until the next call is due, -1 without a watchdog.
  int feed_watchdog();

 private:
  using Clock = std::chrono::steady_clock;

  std::string socket_;  ///< empty: no service manager
  std::chrono::microseconds watchdog_{0};
  Clock::time_point next_;
};

/// The receiving side: a socket on which one process reports that it is ready. It is in the
/// abstract namespace, which needs no clean-up but lets any process send, so messages are accepted
/// only with the expected sender's credentials (SCM_CREDENTIALS).
class ReadySocket {
 public:
  static Result<ReadySocket> open();

  /// For $NOTIFY_SOCKET.
  [[nodiscard]] const std::string& address() const { return address_; }

  /// Readable when messages are pending.
  [[nodiscard]] int fd() const { return fd_.get(); }

  /// Reads the pending messages and drops those of other processes. True if `process` has sent
  /// READY=1. Never waits.
  [[nodiscard]] bool received_ready_from(pid_t process) const;

 private:
  ReadySocket(std::string address, Fd fd) : address_(std::move(address)), fd_(std::move(fd)) {}

  std::string address_;
  Fd fd_;
};

}  // namespace lamina::os
