#pragma once

#include <string>

#include "lamina/result.h"
#include "os/fd.h"

namespace lamina::os {

/// Wakes a thread that polls it (eventfd). Several signals before clear() count as one.
/// Thread-safe.
class Event {
 public:
  Event() = default;
  static Result<Event> create(const std::string& object);

  [[nodiscard]] int fd() const { return fd_.get(); }
  /// Does nothing for a default-constructed Event.
  void signal() const;
  void clear() const;

 private:
  Fd fd_;
};

}  // namespace lamina::os
