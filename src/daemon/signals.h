#pragma once

#include "os/event.h"

namespace lamina::daemon {

/// SIGTERM, SIGINT and SIGHUP, noted by handlers: a program that is started from here (a hook, the
/// page server) begins with the usual ones, which a mask would not give it.
class Signals {
 public:
  /// REQUIRES: one thread.
  static Status handle();

  /// Readable once there is something to take.
  static int fd();
  static void clear();
  /// True once SIGTERM or SIGINT has come.
  static bool asked_to_stop();
  /// True when SIGHUP has come since the last call.
  static bool take_hangup();
};

}  // namespace lamina::daemon
