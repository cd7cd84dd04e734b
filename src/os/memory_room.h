// How much memory a process can still be charged for: what the host has available, and what the
// limits of the process's control groups leave.
//
// Pages of a file on tmpfs count as memory of the control group of the process that writes them
// first. So before another process is asked to write such a file, its limits are looked at, not
// ours.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "lamina/result.h"

namespace lamina::os {

/// Where the kernel's files are; tests have their own.
struct MemoryFiles {
  std::string proc = "/proc";
  std::string cgroups = "/sys/fs/cgroup";
};

struct MemoryRoom {
  std::uint64_t bytes = 0;
  std::string limit;  ///< what leaves no more than that: "the host", or a control group's file
  /// Why the limits of the process's control groups are not known; empty if they are. Then `bytes`
  /// is what the host has.
  std::string unknown;
};

/// Memory that process `pid` can take without that anything is killed: MemAvailable, and for each
/// control group (version 1 or 2) of the process and above it, the limit less the usage, where page
/// cache that can be reclaimed at once does not count as used. Swap space is not counted. Others
/// can take that memory at any time. kFailed if the host's memory cannot be read.
Result<MemoryRoom> memory_room(pid_t pid, const MemoryFiles& files = {});

/// True for a file or directory on tmpfs.
bool is_on_tmpfs(int fd);

}  // namespace lamina::os
