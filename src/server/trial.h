// Tests whether the program that is on the disk now could replace this process: a child executes it
// with copies of everything that it would get.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "lamina/result.h"
#include "os/fd.h"
#include "server/handover.h"

namespace lamina::server {

class Trial {
 public:
  Trial() = default;
  Trial(const Trial&) = delete;
  Trial& operator=(const Trial&) = delete;
  Trial(Trial&&) = delete;
  Trial& operator=(Trial&&) = delete;
  /// Kills a running trial.
  ~Trial();

  /// REQUIRES: none runs.
  Status begin(const std::vector<std::string>& command, const HandoverState& handover);

  [[nodiscard]] bool runs() const { return pid_ > 0; }

  /// Readable when the trial has ended; -1: there is none.
  [[nodiscard]] int fd() const { return pidfd_.get(); }

  /// Milliseconds until the trial times out; -1: there is none.
  [[nodiscard]] int due_ms() const;

  /// The outcome, once the trial has ended or timed out; nullopt before that.
  std::optional<Status> take_outcome();

  /// In a child: drops the trial, which belongs to the parent.
  void forget();

 private:
  using Clock = std::chrono::steady_clock;

  void end();

  pid_t pid_ = -1;
  os::Fd pidfd_;
  std::string program_;
  Clock::time_point deadline_;
};

}  // namespace lamina::server
