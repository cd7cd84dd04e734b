#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "lamina/result.h"
#include "sys/fd.h"

namespace lamina::sys {

/// A pidfd of `pid`; kNotFound when there is no such process.
Result<Fd> open_process(pid_t pid);

/// True when this process may signal the one behind `pidfd`, and it is still there.
bool may_signal(int pidfd);

/// True when the process behind `pidfd` has ended.
bool has_ended(int pidfd);

/// When `pid` was started, in clock ticks since boot (field 22 of /proc/PID/stat): with the pid it
/// names one process for ever.
Result<std::uint64_t> start_time_of(pid_t pid);

/// The numbers of the userfaultfds that a process holds (/proc/PID/fd), as far as they are among
/// its first few thousand descriptors.
Result<std::vector<int>> userfaultfds_of(pid_t pid);

/// A copy of descriptor `number` of another process (pidfd_getfd, Linux 5.6; needs the rights of
/// ptrace over it).
Result<Fd> take_descriptor(int pidfd, int number);

/// True when descriptor `number` of process `pid` and our `fd` are the same open file. Nothing when
/// the kernel does not tell (kcmp needs the rights of ptrace).
std::optional<bool> is_same_file(pid_t pid, int number, int fd);

/// SIGKILL, to the very process that the pidfd was taken of.
Status kill_process(int pidfd);

}  // namespace lamina::sys
