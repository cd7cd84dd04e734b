// A number that the kernel keeps with a process: it ends with the process, and no store, copy of a
// store, backup, mount or namespace has a say in it.
//
// It is the soft limit RLIMIT_LOCKS, which no kernel since 2.4.25 looks at (getrlimit(2)). Whoever
// may change the limits of the process (prlimit(2): the same user and group, CAP_SYS_RESOURCE, or a
// root that may become that user) writes the same number, from any pid, mount, time or network
// namespace; everybody may read it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>

#include "lamina/result.h"

namespace lamina::os {

/// The bits that a mark has besides this one are free.
inline constexpr std::uint64_t kProcessMarkBit = std::uint64_t{1} << 62;

/// The mark of `pid`; nothing when it has none: an ordinary limit is not a mark. kNotFound when the
/// process has ended.
Result<std::optional<std::uint64_t>> process_mark(pid_t pid);

/// Gives `pid` a mark and returns the one before, in one atomic step. REQUIRES: kProcessMarkBit is
/// set, the bit above it is not.
Result<std::optional<std::uint64_t>> exchange_process_mark(pid_t pid, std::uint64_t mark);

/// Takes an exclusive lock on the process behind `pidfd`, which every lamina on this kernel meets,
/// whatever its store or mount namespace. False when a process of root, of this user, or of `owner`
/// (the user of the process) has it; a stranger's lock, which everybody may take, does not count.
/// It goes with the pidfd. Before Linux 6.9 pidfds cannot be locked one by one: true is returned
/// then, and nothing is locked.
Result<bool> try_lock_process(int pidfd, uid_t owner);

}  // namespace lamina::os
