#include "sys/userfaultfd.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.h"
#include "sys/kernel_definitions.h"

namespace lamina::sys {
namespace {

/// What the kernel said about a fill: the ioctl's error, and the bytes done or the negated error
/// that it left in the argument.
FillResult outcome_of(int error_number, std::int64_t done) {
  FillResult result;
  if (error_number == 0) {
    result.bytes_done = static_cast<std::uint64_t>(done);
    return result;
  }
  result.error_number = error_number;
  if (done > 0) result.bytes_done = static_cast<std::uint64_t>(done);
  switch (error_number) {
    case EEXIST:
      result.outcome = FillOutcome::kPresent;
      break;
    case EAGAIN:
      // With bytes done the kernel stopped at a page that is there (or at an event: the next call
      // tells); with none an event is unread.
      result.outcome = done > 0 ? FillOutcome::kPresent : FillOutcome::kUnreadEvent;
      break;
    case ENOENT:
      result.outcome = FillOutcome::kUnmapped;
      break;
    case ESRCH:
      result.outcome = FillOutcome::kProcessGone;
      break;
    default:
      result.outcome = FillOutcome::kFailed;
      break;
  }
  return result;
}

}  // namespace

FillResult uffd_copy(int fd, std::uint64_t address, std::span<const std::byte> source) {
  while (true) {
    uffdio_copy copy{};
    copy.dst = address;
    copy.src = reinterpret_cast<std::uint64_t>(source.data());
    copy.len = source.size();
    if (::ioctl(fd, UFFDIO_COPY, &copy) == 0) return outcome_of(0, copy.copy);
    if (errno != EINTR) return outcome_of(errno, copy.copy);
  }
}

FillResult uffd_zero(int fd, std::uint64_t address, std::uint64_t length) {
  while (true) {
    uffdio_zeropage zero{};
    zero.range = {address, length};
    if (::ioctl(fd, UFFDIO_ZEROPAGE, &zero) == 0) return outcome_of(0, zero.zeropage);
    if (errno != EINTR) return outcome_of(errno, zero.zeropage);
  }
}

Status uffd_wake(int fd, std::uint64_t address, std::uint64_t length) {
  uffdio_range range{address, length};
  while (::ioctl(fd, UFFDIO_WAKE, &range) != 0) {
    if (errno != EINTR) return system_failure("wake", "userfaultfd", errno);
  }
  return {};
}

Status uffd_unregister(int fd, std::uint64_t address, std::uint64_t length) {
  uffdio_range range{address, length};
  while (::ioctl(fd, UFFDIO_UNREGISTER, &range) != 0) {
    if (errno != EINTR) return system_failure("unregister", "userfaultfd", errno);
  }
  return {};
}

Status set_nonblocking(int fd) {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags >= 0 && ((flags & O_NONBLOCK) != 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0)) {
    return {};
  }
  return system_failure("fcntl", "userfaultfd", errno);
}

bool uffd_poison(int fd, std::uint64_t address, std::uint64_t length) {
  UffdioPoison poison{};
  poison.range = {address, length};
  return ::ioctl(fd, kUffdioPoison, &poison) == 0;
}

Result<std::size_t> uffd_read(int fd, std::span<uffd_msg> slots) {
  while (true) {
    const ssize_t count = ::read(fd, slots.data(), slots.size_bytes());
    if (count >= 0) return static_cast<std::size_t>(count) / sizeof(uffd_msg);
    if (errno == EINTR) continue;
    if (errno == EAGAIN) return std::size_t{0};
    return system_failure("read events", "userfaultfd", errno);
  }
}

}  // namespace lamina::sys
