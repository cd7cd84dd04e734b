#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lamina/result.h"
#include "os/fd.h"

namespace lamina::os {

/// A pidfd of `pid`; kNotFound when there is no such process.
Result<Fd> open_process(pid_t pid);

/// True when this process may signal the one behind `pidfd`, and it is still there.
bool may_signal(int pidfd);

/// True when the process behind `pidfd` has ended.
bool has_ended(int pidfd);

/// When `pid` was started, in clock ticks since boot (field 22 of /proc/PID/stat), as the initial
/// time namespace counts them: with the pid it names one process for ever.
Result<std::uint64_t> start_time_of(pid_t pid);

/// A process for as long as the machine runs: pids come again, with another start time.
struct NamedProcess {
  pid_t pid = -1;
  std::uint64_t start_time = 0;
};

/// "<pid>-<start time>".
std::string process_name(pid_t pid, std::uint64_t start_time);

/// Nothing for what process_name() does not give.
std::optional<NamedProcess> parse_process_name(const std::string& name);

/// True while the process that had this start time runs: not ended, also not as a zombie
/// all of whose threads have ended. An error
/// when that cannot be told, which must not be taken for an end.
Result<bool> is_running(pid_t pid, std::uint64_t start_time);

/// The number of this process' pid namespace: a pid names a process only in it.
Result<std::uint64_t> pid_namespace();

/// The path of the running program, also when another has its name by now; empty when it cannot be
/// told.
std::string own_program();

/// The random UUID of the running boot (/proc/sys/kernel/random/boot_id): pids and start times
/// repeat after a reboot.
Result<std::string> boot_id();

/// The numbers of the userfaultfds that a process holds (/proc/PID/fd), as far as they are among
/// its first few thousand descriptors.
Result<std::vector<int>> userfaultfds_of(pid_t pid);

/// Whether a thread waits for a page of a userfaultfd that the process holds (`total` in
/// /proc/PID/fdinfo/N, <https://docs.kernel.org/admin-guide/mm/userfaultfd.html>). kNotFound when
/// the process is gone.
Result<bool> waits_for_pages(pid_t pid);

/// A copy of descriptor `number` of another process (pidfd_getfd, Linux 5.6; needs the rights of
/// ptrace over it).
Result<Fd> take_descriptor(int pidfd, int number);

/// True when descriptor `number` of process `pid` and our `fd` are the same open file. Nothing when
/// the kernel does not tell (kcmp needs the rights of ptrace).
std::optional<bool> is_same_file(pid_t pid, int number, int fd);

/// Waits for the end of the process that the pidfd was taken of; false when it has not ended within
/// `longest`. A tracer, a debugger or a device can hold a process that was killed for as long as it
/// likes.
Result<bool> wait_for_end(int pidfd, std::chrono::milliseconds longest);

/// Why a process that was killed is still there, for a message: who traces it, where it waits.
std::string why_not_ended(pid_t pid);

/// SIGKILL, to the very process that the pidfd was taken of.
Status kill_process(int pidfd);

}  // namespace lamina::os
