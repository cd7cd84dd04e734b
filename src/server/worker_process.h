// The supervisor's side of the serving process: starts it, talks to it, and replaces it.
//
// A process that is replaced serves until its successor has been forked, and it is the successor
// that ends it. So there is always one that can take the place of a supervisor that is killed, and
// VMs are served also while no process can be forked. For a moment there are two: the successor
// takes the supervisor's place then. The other one is told of it before, and sees by a pipe if the
// successor dies too.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

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
  /// Forks a serving process if there is none, or it is to be replaced, and the delay is over. A
  /// failed fork is repeated.
  Start start_if_due();

  /// Takes a serving process that another program has left (a child of this process), to replace
  /// it. It is told so by `control`, and no more heard. REQUIRES: none runs.
  void replace_inherited(pid_t pid, os::Fd pidfd, os::Fd control);

  /// Milliseconds until start_if_due() has something to do; -1 if one runs.
  [[nodiscard]] int next_start_ms() const;

  /// Readable when receive() has a message.
  [[nodiscard]] int fd() const { return is_inherited_ ? -1 : control_.get(); }
  std::optional<ControlMessage> receive();

  /// Sends a message, unless the process is to be replaced. One that has died, or does not read, is
  /// killed: its successor is forked from this process and knows everything.
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

  /// True from replace() until the successor has been forked and the replaced process has ended.
  [[nodiscard]] bool is_replacing() const { return is_replaced_ || !ending_.empty(); }

  /// True if one runs and has done so for longer than kQuick.
  [[nodiscard]] bool has_lived() const {
    return pid_ > 0 && !is_replaced_ && Clock::now() - started_ > kQuick;
  }
  /// Milliseconds until has_lived(); -1 if none runs.
  [[nodiscard]] int lives_in_ms() const;

  /// The next start_if_due() forks a successor, which ends this process before it serves.
  void replace();

  /// SIGKILL. A successor is started as after any death. For a process that may have died already.
  void kill() const;

  /// SIGKILL, waits for the end (at most 10 s), and forgets the process.
  void end();

  [[nodiscard]] pid_t pid() const { return pid_; }

  /// True if a process runs that has said that it serves.
  [[nodiscard]] bool serves() const { return pid_ > 0 && serves_; }
  /// Why the last start failed; nullopt if it has not, or since a process serves.
  [[nodiscard]] const std::optional<std::string>& failure() const { return failure_; }
  [[nodiscard]] std::uint64_t deaths() const { return deaths_; }

 private:
  using Clock = std::chrono::steady_clock;

  struct Replaced {
    pid_t pid;
    os::Fd pidfd;
  };

  void delay_next_start();
  void forget();
  [[nodiscard]] Result<os::Fd> tell_replaced() const;
  void become_successor();
  void note_begun(pid_t child, os::Fd pidfd, os::Fd control);
  void reap_replaced();

  Body body_;
  Log log_;
  pid_t pid_ = -1;
  os::Fd pidfd_;
  os::Fd control_;
  bool is_replaced_ = false;   ///< by the next process
  bool is_inherited_ = false;  ///< from another program
  bool serves_ = false;
  std::optional<std::string> failure_;
  std::vector<Replaced> ending_;  ///< not reaped yet; whichever process serves has ended them
  Clock::time_point started_;
  Clock::time_point next_start_;
  std::chrono::milliseconds delay_{0};
  std::uint64_t deaths_ = 0;
};

}  // namespace lamina::server
