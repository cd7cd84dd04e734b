#pragma once

#include <cstdint>
#include <string>

namespace lamina::daemon {

/// The sequence numbers of events. Each is one more than the last. They also grow from one daemon
/// of a store to the next, even if the clock was set back. A file keeps an upper bound of the
/// numbers in use; it is written at the start and once in a million events. Used by one thread at a
/// time.
class EventNumbers {
 public:
  /// Begins with `time_ms`, the time of the start in milliseconds, or with the number in the file
  /// if that is larger. `file` is open for reading and writing, and outlives this; `path` is for
  /// messages.
  EventNumbers(int file, std::string path, std::uint64_t time_ms);

  std::uint64_t next();

 private:
  void reserve();

  int file_;
  std::string path_;
  std::uint64_t next_;
  std::uint64_t reserved_;  ///< the upper bound in the file
};

}  // namespace lamina::daemon
