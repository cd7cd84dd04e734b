#pragma once

#include <string>

#include "os/process.h"

namespace lamina::os {

/// True if a process has ended, or is exiting: the kernel has begun to close its descriptors.
bool is_ending(int pidfd, const NamedProcess& process);

/// True if a process has ended. If it is exiting, waits up to a second for the end: it may already
/// have closed its sockets. Does not wait for a process that goes on running.
bool wait_if_ending(int pidfd, const NamedProcess& process);

/// How a process has ended, as the end of a message: ": killed by signal 9", ": exit code 1"; empty
/// if unknown. It is known for a zombie, given ptrace access, and since Linux 6.15 for a process
/// that was reaped while the pidfd was open.
std::string describe_end(int pidfd, const NamedProcess& process);

}  // namespace lamina::os
