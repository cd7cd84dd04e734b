#pragma once

#include <chrono>
#include <string>

#include "lamina/result.h"
#include "os/fd.h"

namespace lamina::os {

/// Takes an exclusive flock(2) on `fd` without waiting. False when another holds it. The lock goes
/// with the last descriptor of this open file description, also when the process is killed.
Result<bool> try_lock(int fd, const std::string& object);

/// True while another open file description holds the lock of `fd`'s file. It is locked, shared,
/// for a moment: a try_lock() by somebody else may fail for it.
Result<bool> is_locked(int fd, const std::string& object);

/// No holder that gets on keeps a lock that is waited for so long.
inline constexpr std::chrono::minutes kLongestLockWait{10};

/// try_lock(), but waits while another holds it: kBusy after `longest`, and names the holder.
Status wait_for_lock(int fd, const std::string& object,
                     std::chrono::milliseconds longest = kLongestLockWait);

/// Takes a shared lock, which goes with others like it; waits while another has an exclusive one.
Status wait_for_shared_lock(int fd, const std::string& object);

/// Gives up the lock that this open file description has, if any.
void unlock(int fd);

}  // namespace lamina::os
