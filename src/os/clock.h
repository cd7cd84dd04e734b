#pragma once

#include <cstdint>

namespace lamina::os {

/// Nanoseconds of CLOCK_MONOTONIC: the same for all processes since the machine was started.
std::uint64_t monotonic_ns();

/// Sleeps until monotonic_ns() is `deadline_ns` or more.
void sleep_until(std::uint64_t deadline_ns);

}  // namespace lamina::os
