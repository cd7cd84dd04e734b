#pragma once

#include <cstdint>
#include <utility>

#include "os/clock.h"

namespace lamina::lifecycle {

/// Milliseconds of phases that follow each other.
class Stopwatch {
 public:
  /// Since the last call, or since this was made.
  double lap() {
    const std::uint64_t now = os::monotonic_ns();
    return static_cast<double>(now - std::exchange(last_, now)) / kNsPerMs;
  }

 private:
  static constexpr double kNsPerMs = 1e6;
  std::uint64_t last_ = os::monotonic_ns();
};

}  // namespace lamina::lifecycle
