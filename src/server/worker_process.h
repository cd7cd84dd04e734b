// The serving process, seen from the supervisor: started, told, heard, and succeeded.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>

#include "os/fd.h"
#include "server/control_message.h"
#include "server/served_vms.h"

namespace lamina::server {

class WorkerProcess {
 public:
  /// What the child does, with its end of the socket to the supervisor. Returns when the supervisor
  /// is gone and the child takes its place.
  using Body = std::function<void(os::Fd control)>;

  /// The exit code of a child that could not begin, for want of memory, threads or descriptors.
  static constexpr int kExitCannotBegin = 75;

  /// A process that lived longer did not meet its fault at once.
  static constexpr std::chrono::seconds kQuick{1};

  WorkerProcess(Body body, Log log) : body_(std::move(body)), log_(std::move(log)) {}
  WorkerProcess(const WorkerProcess&) = delete;
  WorkerProcess& operator=(const WorkerProcess&) = delete;
  WorkerProcess(WorkerProcess&&) = delete;
  WorkerProcess& operator=(WorkerProcess&&) = delete;
  /// Kills it.
  ~WorkerProcess() { end(); }

  enum class Start : std::uint8_t {
    kNone,       ///< there is one, or it is not time yet, or it failed and is tried again
    kBegun,      ///< a new one has begun
    kIsInPlace,  ///< this is the child, some time later: its supervisor is gone
  };
  /// Forks one when there is none and it is time; a fork that fails is tried again.
  Start start_if_due();

  /// Milliseconds until start_if_due() has something to do; -1 when one runs.
  [[nodiscard]] int next_start_ms() const;

  /// Readable when receive() has a message.
  [[nodiscard]] int fd() const { return control_.get(); }
  std::optional<ControlMessage> receive();

  /// One that has died, or does not read what it is told, is killed: its successor is forked from
  /// this process and knows everything.
  void tell(const ControlMessage& message, std::span<const int> fds);

  /// Tells it to serve a VM, which is on record: a successor has it from this process.
  void tell_vm(const Vm& vm);

  enum class Death : std::uint8_t {
    kNone,
    kOther,        ///< it was killed, or lived for some time
    kCrashAtOnce,  ///< it crashed within kQuick
  };
  /// Readable when the process has ended; -1 when there is none.
  [[nodiscard]] int ended_fd() const { return pidfd_.get(); }
  /// Looks whether it has ended. Goes by the pidfd: whatever this process does about SIGCHLD.
  Death reap();

  /// One runs, and has done so for longer than kQuick.
  [[nodiscard]] bool has_lived() const { return pid_ > 0 && Clock::now() - started_ > kQuick; }
  /// Milliseconds until has_lived(); -1 when none runs.
  [[nodiscard]] int lives_in_ms() const;

  /// SIGKILL; it is succeeded.
  void kill() const;

  /// SIGKILL; start_if_due() begins anew.
  void end();

  [[nodiscard]] pid_t pid() const { return pid_; }
  [[nodiscard]] std::uint64_t deaths() const { return deaths_; }

 private:
  using Clock = std::chrono::steady_clock;

  void delay_next_start();

  Body body_;
  Log log_;
  pid_t pid_ = -1;
  os::Fd pidfd_;
  os::Fd control_;
  Clock::time_point started_;
  Clock::time_point next_start_;
  std::chrono::milliseconds delay_{0};
  std::uint64_t deaths_ = 0;
};

}  // namespace lamina::server
