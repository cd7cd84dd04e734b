#include "sys/clock.h"

#include <time.h>

namespace lamina::sys {

std::uint64_t monotonic_ns() {
  constexpr std::uint64_t kNanosecondsPerSecond = 1'000'000'000;
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * kNanosecondsPerSecond +
         static_cast<std::uint64_t>(now.tv_nsec);
}

}  // namespace lamina::sys
