#pragma once

#include <cstdint>
#include <string_view>

namespace lamina {

/// How a long operation reports what it does and learns that it should stop. All calls come from
/// the thread that runs the operation. Implementations must not throw.
class Progress {
 public:
  Progress() = default;
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  Progress(Progress&&) = delete;
  Progress& operator=(Progress&&) = delete;
  virtual ~Progress() = default;

  /// A phase starts that will move `total_bytes`.
  virtual void begin(std::string_view phase, std::uint64_t total_bytes) = 0;

  /// `bytes` more of the current phase are done.
  virtual void advance(std::uint64_t bytes) = 0;

  /// True when the operation should stop. It then removes what it has made and fails with
  /// ErrorKind::kInterrupted. Asked between steps: of 256 KiB at most where data is read; of 64 MiB
  /// at most where a merge lets the kernel copy or clone; and one step is the clone of a whole
  /// extent, however long, and the sync of a file. Not asked once the result is being published.
  [[nodiscard]] virtual bool interrupted() = 0;
};

}  // namespace lamina
