#pragma once

#include <string>

#include "os/process.h"

namespace lamina::os {

/// Whether a process has ended, or is about to: then the kernel has begun to close what it has
/// open.
bool is_ending(int pidfd, const NamedProcess& process);

/// The same, and waits for the end: one that has closed its sockets and is not a zombie
/// yet is waited for, up to a second. One that goes on is not waited for.
bool has_ended_or_ends(int pidfd, const NamedProcess& process);

/// How a process that has ended did so, to be put behind a sentence: ": killed by signal 9",
/// ": exit code 1"; empty when the kernel does not tell. It tells of a zombie, with the rights of
/// ptrace over it, and since Linux 6.15 of a process that was reaped while the pidfd was open.
std::string how_it_ended(int pidfd, const NamedProcess& process);

}  // namespace lamina::os
