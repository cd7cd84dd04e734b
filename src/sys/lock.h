#pragma once

#include <string>

#include "lamina/result.h"
#include "sys/fd.h"

namespace lamina::sys {

/// Takes an exclusive flock(2) on `fd` without waiting. False when another holds it. The lock goes
/// with the last descriptor of this open file description, also when the process is killed.
Result<bool> try_lock(int fd, const std::string& object);

/// True while another open file description holds the lock of `fd`'s file. It is locked, shared,
/// for a moment: a try_lock() by somebody else may fail for it.
Result<bool> is_locked(int fd, const std::string& object);

/// try_lock(), but waits for as long as another holds it.
Status wait_for_lock(int fd, const std::string& object);

/// Takes a shared lock, which goes with others like it; waits while another has an exclusive one.
Status wait_for_shared_lock(int fd, const std::string& object);

/// Gives up the lock that this open file description has, if any.
void unlock(int fd);

}  // namespace lamina::sys
