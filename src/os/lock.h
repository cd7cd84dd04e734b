#pragma once

#include <chrono>
#include <string>

#include "lamina/result.h"
#include "os/fd.h"

namespace lamina::os {

/// Takes an exclusive flock(2) on `fd` without waiting. False if it is held elsewhere. The lock is
/// released with the last descriptor of this open file description, also if the process is killed.
Result<bool> try_lock(int fd, const std::string& object);

/// True if another open file description holds the lock of `fd`'s file. Takes a shared lock for a
/// moment, so a try_lock() elsewhere may fail meanwhile.
Result<bool> is_locked(int fd, const std::string& object);

/// No live holder keeps a lock that long.
inline constexpr std::chrono::minutes kLongestLockWait{10};

/// Like try_lock(), but waits while the lock is held elsewhere: kBusy after `longest`, naming the
/// holder.
Status wait_for_lock(int fd, const std::string& object,
                     std::chrono::milliseconds longest = kLongestLockWait);

/// Takes a shared lock; waits while an exclusive lock is held elsewhere.
Status wait_for_shared_lock(int fd, const std::string& object);

/// Releases the lock of this open file description, if it has one.
void unlock(int fd);

}  // namespace lamina::os
