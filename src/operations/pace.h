#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "lamina/progress.h"

namespace lamina::operations {

/// The time that a PacedProgress goes by; tests pass their own.
struct PaceClock {
  std::function<std::uint64_t()> now_ns;
  std::function<void(std::uint64_t deadline_ns)> sleep_until;

  /// The monotonic clock of the machine.
  static PaceClock real();
};

/// Holds an operation to so many bytes a second by returning late from advance(). Time that was
/// lost is not made up for: a disk that was busy for a minute is not flooded after it. All calls go
/// on to `inner`, which may be null; when it asks to stop the waiting ends.
class PacedProgress : public Progress {
 public:
  /// REQUIRES: bytes_per_second > 0; `inner` outlives this.
  PacedProgress(Progress* inner, std::uint64_t bytes_per_second, PaceClock clock);

  void begin(std::string_view phase, std::uint64_t total_bytes) override;
  void advance(std::uint64_t bytes) override;
  [[nodiscard]] bool interrupted() override;

 private:
  Progress* inner_;
  std::uint64_t bytes_per_second_;
  PaceClock clock_;
  std::uint64_t due_ns_ = 0;  ///< when the bytes so far may be done
};

}  // namespace lamina::operations
