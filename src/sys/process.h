#pragma once

#include <sys/types.h>

#include "lamina/result.h"
#include "sys/fd.h"

namespace lamina::sys {

/// A pidfd of `pid`. kNotFound-like failures (ESRCH) are kFailed.
Result<Fd> open_process(pid_t pid);

/// True when this process may signal the one behind `pidfd`, and it is still there.
bool may_signal(int pidfd);

/// SIGKILL, to the very process that the pidfd was taken of.
Status kill_process(int pidfd);

}  // namespace lamina::sys
