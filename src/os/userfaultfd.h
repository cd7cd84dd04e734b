// The userfaultfd ioctls and their possible outcomes.
//
// UFFDIO_COPY and UFFDIO_ZEROPAGE fill missing pages and wake the threads that wait for them. They
// stop at a page that is already present: EEXIST if it is the first page, else EAGAIN with the
// number of bytes done. EAGAIN with nothing done means that an event (a REMOVE) has not been read
// yet; nothing can be filled before it is read. ENOENT: the range was unmapped. ESRCH: the process
// is gone. ENOMEM: no page is available; but with huge pages an empty pool is reported as EEXIST
// too (os/page_table.h distinguishes the two).
#pragma once

#include <linux/userfaultfd.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "lamina/result.h"
#include "os/fd.h"

namespace lamina::os {

enum class FillOutcome : std::uint8_t {
  kDone,         ///< everything was filled
  kPresent,      ///< the page after `bytes_done` is already present
  kUnreadEvent,  ///< read events, then retry from `bytes_done`
  kUnmapped,     ///< the range is not mapped (any more)
  kProcessGone,  ///< the process has exited
  kNoMemory,     ///< no page is available now
  kFailed,       ///< another error: see `error_number`
};

struct FillResult {
  FillOutcome outcome = FillOutcome::kDone;
  std::uint64_t bytes_done = 0;
  int error_number = 0;
};

/// Copies `source` to the missing pages at `address` in the faulting process and wakes the waiters.
/// REQUIRES: both are multiples of the page size.
FillResult uffd_copy(int fd, std::uint64_t address, std::span<const std::byte> source);

/// Maps zero pages at [address, address + length). Not supported for hugetlb.
FillResult uffd_zero(int fd, std::uint64_t address, std::uint64_t length);

/// Wakes the threads that wait for a page in the range. They fault again if it is still missing.
Status uffd_wake(int fd, std::uint64_t address, std::uint64_t length);

/// Unregisters a range and wakes its waiters. From then on the kernel handles its faults. Fails
/// (ENOMEM) after the process has ended.
Status uffd_unregister(int fd, std::uint64_t address, std::uint64_t length);

/// Sets O_NONBLOCK, without which the kernel does not support poll(2) on the descriptor.
Status set_nonblocking(int fd);

/// Makes later accesses to the range raise SIGBUS (Linux 6.6). False if not supported.
bool uffd_poison(int fd, std::uint64_t address, std::uint64_t length);

/// True if `fd` is a userfaultfd, according to /proc/self/fd.
bool is_userfaultfd(int fd);

/// True if `link`, an entry of the /proc/PID/fd `directory`, is a userfaultfd.
bool names_userfaultfd(int directory, const char* link);

/// Reads pending events into `slots` and returns their number. Never waits, even if another holder
/// of the descriptor clears O_NONBLOCK (kFailed on kernels that cannot avoid the wait). The slots
/// must be in memory that does not fault: an event whose copy-out faults is lost. Fails if the
/// process is gone or the descriptor is not a userfaultfd.
Result<std::size_t> uffd_read(int fd, std::span<uffd_msg> slots);

}  // namespace lamina::os
