// Processes of other pid namespaces.
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "lamina/result.h"

namespace lamina::os {

enum class Presence : std::uint8_t {
  kRuns,
  kEnded,
  kUnknown,  ///< cannot be determined from this process
};

/// Whether the process is running that had `pid` in the pid namespace with that number
/// (os::pid_namespace()) and was started at `start_time` (os::start_time_of()). It can be
/// determined from the same namespace, from an ancestor while the namespace has a process, and from
/// the initial namespace, if this process may examine all others. Otherwise kUnknown.
Presence presence_of(std::uint64_t pid_namespace, pid_t pid, std::uint64_t start_time);

}  // namespace lamina::os
