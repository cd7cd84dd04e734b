// Times since boot, which time namespaces shift.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "lamina/result.h"

namespace lamina::os {

/// The number of the namespace that `path` (/proc/PID/ns/NAME) leads to; nothing when it may not be
/// looked at.
std::optional<std::uint64_t> namespace_number(const std::string& path);

/// What this process' time namespace adds to times since boot, in nanoseconds (time_namespaces(7)).
/// kFailed when it cannot be told.
Result<std::int64_t> boot_time_offset_ns();

}  // namespace lamina::os
