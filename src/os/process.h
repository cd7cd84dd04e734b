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

/// A pidfd of `pid`; kNotFound if there is no such process.
Result<Fd> open_process(pid_t pid);

/// True if the process behind `pidfd` is alive and this process may signal it.
bool may_signal(int pidfd);

/// True if the process behind `pidfd` has ended.
bool has_ended(int pidfd);

/// Start time of `pid` in clock ticks since boot (field 22 of /proc/PID/stat), in the initial time
/// namespace. Pid and start time together identify a process until the next boot.
Result<std::uint64_t> start_time_of(pid_t pid);

/// Identifies a process until the next boot: a reused pid has another start time.
struct NamedProcess {
  pid_t pid = -1;
  std::uint64_t start_time = 0;
};

/// "<pid>-<start time>".
std::string process_name(pid_t pid, std::uint64_t start_time);

/// The reverse; nullopt if `name` does not have that form.
std::optional<NamedProcess> parse_process_name(const std::string& name);

/// True while the process with this pid and start time runs. A zombie whose threads have all ended
/// does not run. Fails if this cannot be determined, which does not mean that it has ended.
Result<bool> is_running(pid_t pid, std::uint64_t start_time);

/// The number of this process' pid namespace, in which pids are valid.
Result<std::uint64_t> pid_namespace();

/// Path of the running executable, even if the file has been replaced since; empty if unknown.
std::string own_program();

/// The random UUID of the running boot (/proc/sys/kernel/random/boot_id): pids and start times
/// repeat after a reboot.
Result<std::string> boot_id();

/// The userfaultfd descriptor numbers of a process (/proc/PID/fd), among its first few thousand
/// descriptors.
Result<std::vector<int>> userfaultfds_of(pid_t pid);

/// Whether any thread waits for a page of a userfaultfd that the process has open (`total` in
/// /proc/PID/fdinfo/N, <https://docs.kernel.org/admin-guide/mm/userfaultfd.html>). kNotFound if the
/// process has ended.
Result<bool> waits_for_pages(pid_t pid);

/// Duplicates descriptor `number` of another process (pidfd_getfd(2), Linux 5.6). Needs ptrace
/// access to it.
Result<Fd> take_descriptor(int pidfd, int number);

/// True if descriptor `number` of process `pid` and our `fd` are the same open file description;
/// nullopt if unknown (kcmp(2) needs ptrace access).
std::optional<bool> is_same_file(pid_t pid, int number, int fd);

/// Waits for the process to end; false if it has not within `longest`. A tracer, a debugger or a
/// device driver can hold up a killed process indefinitely.
Result<bool> wait_for_end(int pidfd, std::chrono::milliseconds longest);

/// Why a killed process has not ended, for messages: its tracer, or where it waits in the kernel.
std::string why_not_ended(pid_t pid);

/// Sends SIGKILL to the process behind `pidfd`.
Status kill_process(int pidfd);

}  // namespace lamina::os
