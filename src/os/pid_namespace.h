// Processes as other pid namespaces name them.
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "lamina/result.h"

namespace lamina::os {

enum class Presence : std::uint8_t {
  kRuns,
  kEnded,
  kUnknown,  ///< it cannot be told from here
};

/// Whether the process that has, or had, `pid` in the pid namespace of that number
/// (os::pid_namespace()) and was started at `start_time` (os::start_time_of()) runs. From the
/// namespace itself, from one above it while a process is in it, and from the initial namespace of
/// the kernel it can be told, by who may look at every process there is; else kUnknown.
Presence presence_of(std::uint64_t pid_namespace, pid_t pid, std::uint64_t start_time);

}  // namespace lamina::os
