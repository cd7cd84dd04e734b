#pragma once

#include <cstdint>
#include <utility>

#include "sys/clock.h"

namespace lamina::vmm {

/// Milliseconds of phases that follow each other.
class Stopwatch {
 public:
  /// Since the last call, or since this was made.
  double lap() {
    const std::uint64_t now = sys::monotonic_ns();
    return static_cast<double>(now - std::exchange(last_, now)) / kNsPerMs;
  }

 private:
  static constexpr double kNsPerMs = 1e6;
  std::uint64_t last_ = sys::monotonic_ns();
};

}  // namespace lamina::vmm
