// The supervisor's side of the serving process: starts it, talks to it, and replaces it.
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
  /// The child's main function; `control` is its end of the socket to the supervisor. Returns if
  /// the supervisor has ended and the child takes its place.
  using Body = std::function<void(os::Fd control)>;

  /// Exit code of a child that could not start, for lack of memory, threads or descriptors.
  static constexpr int kExitCannotBegin = 75;

  /// A process that crashes within this time has crashed soon after its start.
  static constexpr std::chrono::seconds kQuick{1};

  WorkerProcess(Body body, Log log) : body_(std::move(body)), log_(std::move(log)) {}
  WorkerProcess(const WorkerProcess&) = delete;
  WorkerProcess& operator=(const WorkerProcess&) = delete;
  WorkerProcess(WorkerProcess&&) = delete;
  WorkerProcess& operator=(WorkerProcess&&) = delete;
  /// Kills it.
  ~WorkerProcess() { end(); }

  enum class Start : std::uint8_t {
    kNone,         ///< there is one, or it is not time yet, or it failed and is tried again
    kBegun,        ///< a new one has begun
    kIsSuccessor,  ///< this is the child, some time later: its supervisor is gone
  };
  /// Forks a serving process if there is none and the delay is over. A failed fork is repeated.
  Start start_if_due();

  /// Milliseconds until start_if_due() has something to do; -1 if one runs.
  [[nodiscard]] int next_start_ms() const;

  /// Readable when receive() has a message.
  [[nodiscard]] int fd() const { return control_.get(); }
  std::optional<ControlMessage> receive();

  /// Sends a message. A serving process that has died, or does not read, is killed: its
  /// successor is forked from this process and knows everything.
  void tell(const ControlMessage& message, std::span<const int> fds);

  /// Sends a VM to serve. REQUIRES: the VM is among those that a successor inherits.
  void tell_vm(const Vm& vm);

  enum class Death : std::uint8_t {
    kNone,
    kOther,        ///< it was killed, or ran for longer than kQuick
    kCrashAtOnce,  ///< it crashed within kQuick
  };
  /// Readable when the process has ended; -1 if there is none.
  [[nodiscard]] int ended_fd() const { return pidfd_.get(); }
  /// Checks whether it has ended, by its pidfd: the action of SIGCHLD does not matter.
  Death reap();

  /// True if one runs and has done so for longer than kQuick.
  [[nodiscard]] bool has_lived() const { return pid_ > 0 && Clock::now() - started_ > kQuick; }
  /// Milliseconds until has_lived(); -1 if none runs.
  [[nodiscard]] int lives_in_ms() const;

  /// SIGKILL. A successor is started as after any death.
  void kill() const;

  /// SIGKILL, waits for the end (at most 10 s), and forgets the process.
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
