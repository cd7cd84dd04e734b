#include "os/userfaultfd.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <string_view>

#include "base/error.h"
#include "os/kernel_definitions.h"

namespace lamina::os {
namespace {

/// Interprets the result of a fill: the ioctl's error, and the bytes done or the negated error in
/// its argument.
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
      // With bytes done, the kernel stopped at a present page (or at an event: the next call shows
      // it). With none, an event is unread.
      result.outcome = done > 0 ? FillOutcome::kPresent : FillOutcome::kUnreadEvent;
      break;
    case ENOENT:
      result.outcome = FillOutcome::kUnmapped;
      break;
    case ESRCH:
      result.outcome = FillOutcome::kProcessGone;
      break;
    case ENOMEM:
      result.outcome = FillOutcome::kNoMemory;
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
  // The kernel wakes the range's waiters before it unregisters the range, and a fault takes only
  // the lock of its mapping (Linux 6.6): a thread that faults in between would wait forever.
  return uffd_wake(fd, address, length);
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

bool is_userfaultfd(int fd) {
  return names_userfaultfd(AT_FDCWD, fmt::format("/proc/self/fd/{}", fd).c_str());
}

bool names_userfaultfd(int directory, const char* link) {
  std::array<char, 64> target{};
  const ssize_t count = ::readlinkat(directory, link, target.data(), target.size());
  return count > 0 && std::string_view(target.data(), static_cast<std::size_t>(count)) ==
                          "anon_inode:[userfaultfd]";
}

Result<std::size_t> uffd_read(int fd, std::span<uffd_msg> slots) {
  // The flags of an open file are shared: the peer could clear O_NONBLOCK at any time, and a plain
  // read would block. Before Linux 6.10 RWF_NOWAIT is not supported; then poll(2) shows whether the
  // flag was cleared.
  static std::atomic<bool> has_nowait = true;
  iovec vector{slots.data(), slots.size_bytes()};
  while (true) {
    ssize_t count = -1;
    if (has_nowait) {
      count = ::preadv2(fd, &vector, 1, -1, RWF_NOWAIT);
      if (count < 0 && (errno == EOPNOTSUPP || errno == ENOSYS || errno == ESPIPE)) {
        has_nowait = false;
        continue;
      }
    } else {
      pollfd waiting{fd, POLLIN, 0};
      if (::poll(&waiting, 1, 0) > 0 && (waiting.revents & POLLERR) != 0) {
        return fail(ErrorKind::kFailed, "the peer cleared O_NONBLOCK of its userfaultfd");
      }
      count = ::read(fd, slots.data(), slots.size_bytes());
    }
    if (count >= 0) return static_cast<std::size_t>(count) / sizeof(uffd_msg);
    if (errno == EINTR) continue;
    if (errno == EAGAIN) return std::size_t{0};
    return system_failure("read events", "userfaultfd", errno);
  }
}

}  // namespace lamina::os
