// Whether the program that is on the disk now could take this process' place: asked of a child,
// which executes it with copies of all that it would get.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "lamina/result.h"
#include "os/fd.h"
#include "server/inherited_state.h"

namespace lamina::server {

class Trial {
 public:
  Trial() = default;
  Trial(const Trial&) = delete;
  Trial& operator=(const Trial&) = delete;
  Trial(Trial&&) = delete;
  Trial& operator=(Trial&&) = delete;
  /// Ends it.
  ~Trial();

  /// REQUIRES: none runs.
  Status begin(const std::vector<std::string>& command, const StateToLeave& left);

  [[nodiscard]] bool runs() const { return pid_ > 0; }

  /// Readable when it has ended; -1 when none runs.
  [[nodiscard]] int fd() const { return pidfd_.get(); }

  /// Milliseconds until its time is over; -1 when none runs.
  [[nodiscard]] int due_ms() const;

  /// Once it has ended, or its time is over: whether it went well.
  std::optional<Status> take_outcome();

  /// In a child: it is the parent's.
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
