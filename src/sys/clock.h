#pragma once

#include <cstdint>

namespace lamina::sys {

/// Nanoseconds of CLOCK_MONOTONIC: the same for all processes since the machine was started.
std::uint64_t monotonic_ns();

}  // namespace lamina::sys
