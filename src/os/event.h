#pragma once

#include <string>

#include "lamina/result.h"
#include "os/fd.h"

namespace lamina::os {

/// Wakes a thread that polls it (eventfd). Signalled more than once before it is cleared, it wakes
/// once. Thread-safe.
class Event {
 public:
  Event() = default;
  static Result<Event> create(const std::string& object);

  [[nodiscard]] int fd() const { return fd_.get(); }
  /// Nothing happens when it was never created.
  void signal() const;
  void clear() const;

 private:
  Fd fd_;
};

}  // namespace lamina::os
