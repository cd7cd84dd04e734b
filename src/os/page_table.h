// What the page table of another process says.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>

namespace lamina::os {

/// Whether a page of process `pid` is there, in memory or swapped out
/// (<https://docs.kernel.org/admin-guide/mm/pagemap.html>). Nothing when that cannot be told: the
/// process is gone, or this one may not look (the rights to read of ptrace(2)). `pid` may be
/// another process by then: the caller holds a pidfd, and asks afterwards whether it lives. No
/// allocation.
std::optional<bool> has_page(pid_t pid, std::uint64_t address);

}  // namespace lamina::os
