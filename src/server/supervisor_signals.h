// The signals that control a supervisor, as events of its loop.
#pragma once

#include <functional>

#include "lamina/result.h"
#include "os/fd.h"

namespace lamina::server {

class SupervisorSignals {
 public:
  /// Blocks SIGTERM, SIGINT and SIGHUP in this process, and watches for them.
  Status block();

  /// Readable when read() has something to do.
  [[nodiscard]] int fd() const { return fd_.get(); }

  /// Calls `handle` with the number of each signal that has arrived.
  void read(const std::function<void(int)>& handle) const;

  /// In a child: closes its copy.
  void forget() { fd_.reset(); }

 private:
  os::Fd fd_;
};

}  // namespace lamina::server
