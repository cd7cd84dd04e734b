// Limits the rate of an operation.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "lamina/progress.h"

namespace lamina::operations {

/// The clock of a RateLimitedProgress. Tests pass one of their own.
struct RateClock {
  std::function<std::uint64_t()> now_ns;
  std::function<void(std::uint64_t deadline_ns)> sleep_until;

  /// The monotonic clock of the machine.
  static RateClock real();
};

/// Limits an operation to a number of bytes per second: advance() returns late. Lost time is not
/// caught up: after a minute in which the disk was busy, the rate does not exceed the limit. All
/// calls are passed on to `inner`, which may be null; if that asks to stop, the wait ends.
class RateLimitedProgress : public Progress {
 public:
  /// REQUIRES: bytes_per_second > 0; `inner` outlives this.
  RateLimitedProgress(Progress* inner, std::uint64_t bytes_per_second, RateClock clock);

  void begin(std::string_view phase, std::uint64_t total_bytes) override;
  void advance(std::uint64_t bytes) override;
  [[nodiscard]] bool interrupted() override;

 private:
  Progress* inner_;
  std::uint64_t bytes_per_second_;
  RateClock clock_;
  std::uint64_t due_ns_ = 0;  ///< the earliest time for the end of the bytes so far
};

}  // namespace lamina::operations
