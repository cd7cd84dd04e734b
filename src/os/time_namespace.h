// Time since boot, which time namespaces shift.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "lamina/result.h"

namespace lamina::os {

/// The number of the namespace behind `path` (/proc/PID/ns/NAME); nullopt if it cannot be read.
std::optional<std::uint64_t> namespace_number(const std::string& path);

/// Nanoseconds that this process' time namespace adds to the time since boot (time_namespaces(7)).
/// kFailed if unknown.
Result<std::int64_t> boot_time_offset_ns();

}  // namespace lamina::os
