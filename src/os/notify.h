// Telling a service manager how far a service is (the protocol of sd_notify(3)), and hearing it.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <string>
#include <utility>

#include "lamina/result.h"
#include "os/fd.h"

namespace lamina::os {

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

/// The other side: a socket at which one process says that it is ready. It is in the abstract
/// namespace, where there is nothing to clean up and everybody can send, so only what the kernel
/// says to be of the process that is waited for counts (SCM_CREDENTIALS).
class ReadySocket {
 public:
  static Result<ReadySocket> open();

  /// For $NOTIFY_SOCKET.
  [[nodiscard]] const std::string& address() const { return address_; }

  /// Readable when there is something to take.
  [[nodiscard]] int fd() const { return fd_.get(); }

  /// Takes what has come, and drops what is not of `process`. True when that one was READY=1. Never
  /// waits.
  [[nodiscard]] bool take_ready_of(pid_t process) const;

 private:
  ReadySocket(std::string address, Fd fd) : address_(std::move(address)), fd_(std::move(fd)) {}

  std::string address_;
  Fd fd_;
};

}  // namespace lamina::os
