// Replacement of a supervisor by a newer program (SIGHUP).
//
// The program is tried first (trial.h): a child executes it with copies of all descriptors, it
// opens everything that is served, and ends. If that succeeds, no further connections are accepted
// (peers wait in the backlog), and once the pending handshakes have ended, the supervisor executes
// the program itself. A failure at any step changes nothing.
#pragma once

#include <string>
#include <vector>

#include "os/notify.h"
#include "server/handover.h"
#include "server/served_vms.h"
#include "server/trial.h"

namespace lamina::server {

/// Used by one thread.
class Succession {
 public:
  /// `command` must outlive this; empty: there is no program that could take over.
  Succession(const std::vector<std::string>& command, Log log)
      : command_(command), log_(std::move(log)) {}

  /// Begins a trial, unless one runs or has gone well.
  void begin(const HandoverState& handover);
  [[nodiscard]] bool has_program() const { return !command_.empty(); }

  /// Readable when the trial has ended; -1: there is none.
  [[nodiscard]] int fd() const { return trial_.fd(); }
  /// Milliseconds until the trial times out; -1: there is none.
  [[nodiscard]] int due_ms() const { return trial_.due_ms(); }

  /// True once, when the trial has succeeded: is_decided() is true from now on, and the caller
  /// stops accepting.
  bool take_outcome();
  [[nodiscard]] bool is_decided() const { return is_decided_; }

  /// Executes the program. Returns only on failure, which undoes the decision. `manager` goes along
  /// in the environment.
  void execute(const HandoverState& handover, os::ServiceManager& manager);

  /// In a child: drops the trial, which belongs to the parent.
  void forget();

 private:
  void say_failed(const std::string& why) const;

  const std::vector<std::string>& command_;
  Log log_;
  Trial trial_;
  bool is_decided_ = false;
};

}  // namespace lamina::server
