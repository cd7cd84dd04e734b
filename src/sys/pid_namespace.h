// Processes as other pid and time namespaces name them.
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "lamina/result.h"

namespace lamina::sys {

enum class Presence : std::uint8_t {
  kRuns,
  kEnded,
  kUnknown,  ///< it cannot be told from here
};

/// Whether the process that has, or had, `pid` in the pid namespace of that number
/// (sys::pid_namespace()) and was started at `start_time` (sys::start_time_of()) runs. From the
/// namespace itself, from one above it while a process is in it, and from the initial namespace of
/// the kernel it can be told, by who may look at every process there is; else kUnknown.
Presence presence_of(std::uint64_t pid_namespace, pid_t pid, std::uint64_t start_time);

/// What this process' time namespace adds to times since boot, in nanoseconds (time_namespaces(7)).
/// kFailed when it cannot be told.
Result<std::int64_t> boot_time_offset_ns();

}  // namespace lamina::sys
