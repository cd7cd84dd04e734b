#pragma once

#include <cstdint>
#include <string>

namespace lamina::daemon {

/// The numbers of events: they grow by one, and from one daemon of a store to the next, also when
/// the clock was set back meanwhile. A file keeps a number that none has reached yet; it is written
/// at the start and once in a million events. Used by one thread at a time.
class EventNumbers {
 public:
  /// Begins with `time_ms`, the time of the start in milliseconds, or with what the file holds when
  /// that is more. `file`, which is read and written, outlives this; `path` is for messages.
  EventNumbers(int file, std::string path, std::uint64_t time_ms);

  std::uint64_t next();

 private:
  void reserve();

  int file_;
  std::string path_;
  std::uint64_t next_;
  std::uint64_t reserved_;  ///< the first that may not be given yet
};

}  // namespace lamina::daemon
