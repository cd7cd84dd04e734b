// Page table of another process (/proc/PID/pagemap).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>

namespace lamina::os {

/// Whether a page of process `pid` is present, in memory or swapped out
/// (<https://docs.kernel.org/admin-guide/mm/pagemap.html>). nullopt if the process is gone or may
/// not be examined (ptrace(2) read access). The pid may have been reused: callers hold a pidfd and
/// check afterwards that the process is still alive. Does not allocate.
std::optional<bool> has_page(pid_t pid, std::uint64_t address);

}  // namespace lamina::os
