#pragma once

#include <cstdint>

namespace lamina::os {

inline constexpr std::int64_t kNanosecondsPerSecond = 1'000'000'000;

/// Nanoseconds of CLOCK_MONOTONIC, which all processes share until the next boot.
std::uint64_t monotonic_ns();

/// Seconds since 1970 of this host's clock, which can be set.
std::int64_t unix_seconds();

/// Sleeps until monotonic_ns() is `deadline_ns` or more.
void sleep_until(std::uint64_t deadline_ns);

}  // namespace lamina::os
