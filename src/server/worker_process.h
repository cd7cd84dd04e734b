// The serving process, seen from the supervisor: started, told, heard, and succeeded.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>

#include "server/control_message.h"
#include "server/served_vms.h"
#include "sys/fd.h"

namespace lamina::server {

class WorkerProcess {
 public:
  /// What the child does, with its end of the socket to the supervisor. Never returns.
  using Body = std::function<void(sys::Fd control)>;

  WorkerProcess(Body body, Log log) : body_(std::move(body)), log_(std::move(log)) {}
  WorkerProcess(const WorkerProcess&) = delete;
  WorkerProcess& operator=(const WorkerProcess&) = delete;
  WorkerProcess(WorkerProcess&&) = delete;
  WorkerProcess& operator=(WorkerProcess&&) = delete;
  /// Kills it.
  ~WorkerProcess() { end(); }

  /// Forks one when there is none and it is time; a fork that fails is tried again. True when a new
  /// one has begun.
  bool start_if_due();

  /// Milliseconds until start_if_due() has something to do; -1 when one runs.
  [[nodiscard]] int next_start_ms() const;

  /// Readable when receive() has a message.
  [[nodiscard]] int fd() const { return control_.get(); }
  std::optional<ControlMessage> receive();

  /// One that has died, or does not read what it is told, is killed: its successor is forked from
  /// this process and knows everything.
  void tell(const ControlMessage& message, std::span<const int> fds);

  /// Readable when the process has ended; -1 when there is none.
  [[nodiscard]] int ended_fd() const { return pidfd_.get(); }
  /// Looks whether it has ended. Goes by the pidfd: whatever this process does about SIGCHLD.
  void reap();

  /// SIGKILL; it is succeeded.
  void kill() const;

  /// SIGKILL; start_if_due() begins anew.
  void end();

  /// It has crashed (not: been killed) again and again, each time at once, for so long that it
  /// would go on for ever.
  [[nodiscard]] bool is_hopeless() const;

  [[nodiscard]] pid_t pid() const { return pid_; }
  [[nodiscard]] std::uint64_t deaths() const { return deaths_; }

 private:
  using Clock = std::chrono::steady_clock;

  void delay_next_start();

  Body body_;
  Log log_;
  pid_t pid_ = -1;
  sys::Fd pidfd_;
  sys::Fd control_;
  Clock::time_point started_;
  Clock::time_point next_start_;
  std::chrono::milliseconds delay_{0};
  std::optional<Clock::time_point> crashing_since_;
  std::uint64_t deaths_ = 0;
};

}  // namespace lamina::server
