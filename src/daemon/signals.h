#pragma once

#include "os/event.h"

namespace lamina::daemon {

/// SIGTERM, SIGINT and SIGHUP. Handlers record them: unlike blocked signals (signalfd), handlers
/// are not inherited by the programs that the daemon starts (hooks, the page server).
class Signals {
 public:
  /// Installs the handlers. REQUIRES: the process has one thread.
  static Status handle();

  /// Becomes readable when a signal has come, until clear().
  static int fd();
  static void clear();
  /// True after SIGTERM or SIGINT.
  static bool stop_requested();
  /// True if SIGHUP has come since the last call.
  static bool take_hangup();
};

}  // namespace lamina::daemon
