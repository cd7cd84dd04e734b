// A number that the kernel stores for a process until it ends, independent of stores, copies of
// stores, backups, mounts and namespaces.
//
// It is kept in the soft limit RLIMIT_LOCKS, which kernels since 2.4.25 ignore (getrlimit(2)). A
// process that may change the limits (prlimit(2): same user and group, CAP_SYS_RESOURCE, or a root
// that may become that user) can write it from any pid, mount, time or network namespace; every
// process can read it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>

#include "lamina/result.h"

namespace lamina::os {

/// Set in every mark, to distinguish it from an ordinary limit. The bits below it are free to use.
inline constexpr std::uint64_t kProcessMarkBit = std::uint64_t{1} << 62;

/// The mark of `pid`; nullopt if it has none. kNotFound if the process has ended.
Result<std::optional<std::uint64_t>> process_mark(pid_t pid);

/// Atomically sets the mark of `pid` and returns the previous one. REQUIRES: kProcessMarkBit is set
/// in `mark`, the bit above it is not.
Result<std::optional<std::uint64_t>> exchange_process_mark(pid_t pid, std::uint64_t mark);

/// Takes an exclusive lock on the process behind `pidfd`. The lock is effective for every lamina on
/// this kernel, whatever its store or mount namespace. False if a process of root, of this user, or
/// of `owner` (the user of the process) holds it, or one that cannot be seen. Any user can take the
/// lock, so one that a process of another user is seen to hold is ignored. It is released with the
/// pidfd. Before Linux 6.9 pidfds share one inode: then
/// nothing is locked and true is returned.
Result<bool> try_lock_process(int pidfd, uid_t owner);

}  // namespace lamina::os
