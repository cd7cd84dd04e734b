// A newer program in the place of a supervisor (SIGHUP).
//
// It is tried first: a child executes it with copies of all descriptors, opens all that is served,
// and ends. Only when that went well are peers held at the sockets, and once the handshakes that
// are on their way have ended the supervisor executes it itself. Whatever fails changes nothing.
#pragma once

#include <string>
#include <vector>

#include "os/notify.h"
#include "server/inherited_state.h"
#include "server/served_vms.h"
#include "server/trial.h"

namespace lamina::server {

/// Used by one thread.
class Succession {
 public:
  /// `command` must outlive it; empty: there is no program to go on with.
  Succession(const std::vector<std::string>& command, Log log)
      : command_(command), log_(std::move(log)) {}

  /// Begins a trial, unless one runs or has gone well.
  void begin(const StateToLeave& left);
  [[nodiscard]] bool has_program() const { return !command_.empty(); }

  /// Readable when the trial has ended; -1: none runs.
  [[nodiscard]] int fd() const { return trial_.fd(); }
  /// Milliseconds until its time is over; -1: none runs.
  [[nodiscard]] int due_ms() const { return trial_.due_ms(); }

  /// True once, when the trial has gone well: then is_decided(), and peers are to be held.
  bool take_outcome();
  [[nodiscard]] bool is_decided() const { return is_decided_; }

  /// Executes the program. Returns only on failure, which undoes the decision. `manager` goes along
  /// in the environment.
  void execute(const StateToLeave& left, os::ServiceManager& manager);

  /// In a child: the trial is the parent's, and nothing is decided.
  void forget();

 private:
  void say_failed(const std::string& why) const;

  const std::vector<std::string>& command_;
  Log log_;
  Trial trial_;
  bool is_decided_ = false;
};

}  // namespace lamina::server
