// The ioctls of a userfaultfd, each with the outcomes that the kernel really has.
//
// UFFDIO_COPY and UFFDIO_ZEROPAGE fill missing pages and wake whoever waits for them. They stop
// where a page is there already: at the first page with EEXIST, later with EAGAIN and the bytes
// done. EAGAIN with nothing done means that an event (a REMOVE) has not been read yet: reading it
// is the only way on. ENOENT: the range was unmapped; ESRCH: the process is gone. ENOMEM: there is
// no page to be had; but with huge pages an empty pool is told by EEXIST too (os/page_table.h
// tells the two apart).
#pragma once

#include <linux/userfaultfd.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "lamina/result.h"
#include "os/fd.h"

namespace lamina::os {

enum class FillOutcome : std::uint8_t {
  kDone,         ///< all of it
  kPresent,      ///< the page after `bytes_done` is there already
  kUnreadEvent,  ///< read events, then try again from `bytes_done`
  kUnmapped,     ///< no such range (any more)
  kProcessGone,  ///< the process has exited
  kNoMemory,     ///< the kernel has no page for it now
  kFailed,       ///< anything else: see `error_number`
};

struct FillResult {
  FillOutcome outcome = FillOutcome::kDone;
  std::uint64_t bytes_done = 0;
  int error_number = 0;
};

/// Copies `source` to the missing pages at `address` in the faulting process and wakes its waiters.
/// REQUIRES: both are multiples of the page size.
FillResult uffd_copy(int fd, std::uint64_t address, std::span<const std::byte> source);

/// Maps zero pages to [address, address + length). Not for hugetlb.
FillResult uffd_zero(int fd, std::uint64_t address, std::uint64_t length);

/// Wakes whoever waits for a page in the range; it faults again if the page is still missing.
Status uffd_wake(int fd, std::uint64_t address, std::uint64_t length);

/// Takes a range out of the descriptor's hands; its waiters are woken, and the kernel answers its
/// faults by itself from then on. After the process has ended this fails (ENOMEM).
Status uffd_unregister(int fd, std::uint64_t address, std::uint64_t length);

/// Sets O_NONBLOCK: without it the kernel lets nobody poll the descriptor.
Status set_nonblocking(int fd);

/// Makes later accesses to the range raise SIGBUS (Linux 6.6). False where the kernel cannot.
bool uffd_poison(int fd, std::uint64_t address, std::uint64_t length);

/// True when `fd` is a userfaultfd (as /proc/self/fd tells).
bool is_userfaultfd(int fd);

/// True when `link`, an entry of a /proc/PID/fd below `directory`, is a userfaultfd.
bool names_userfaultfd(int directory, const char* link);

/// Reads waiting events into `slots`; returns how many, 0 when none wait. Never waits, whatever
/// flags the other holders of the descriptor set (kFailed on kernels that would have to). The slots
/// must be in memory that cannot fault: an event whose copy-out faults is lost. kFailed when the
/// process is gone or the descriptor is no userfaultfd.
Result<std::size_t> uffd_read(int fd, std::span<uffd_msg> slots);

}  // namespace lamina::os
