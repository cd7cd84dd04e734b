#include "os/read_lease.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/vfs.h>

#include <cerrno>
#include <csignal>

#include "base/error.h"

namespace lamina::os {
namespace {

/// On an overlay, a mapping refers to the file of the lower layer but the lease to that of the
/// overlay. So the lease detects descriptors but not mappings.
bool sees_mappings(int fd) {
  struct statfs facts{};
  return ::fstatfs(fd, &facts) == 0 && facts.f_type != OVERLAYFS_SUPER_MAGIC;
}

}  // namespace

// NOLINTBEGIN(cppcoreguidelines-pro-type-vararg): fcntl(2) is what it is.

ReadLease::ReadLease(int fd) : fd_(fd) {
  // A lease break sends a signal: by default SIGIO, which would kill the process. SIGURG is ignored
  // by default. Once the lease is granted, the signal is not needed at all.
  if (::fcntl(fd_, F_SETSIG, SIGURG) != 0) return;
  if (::fcntl(fd_, F_SETLEASE, F_RDLCK) != 0) {
    if (errno == EAGAIN) writers_ = Writers::kSome;
    return;
  }
  static_cast<void>(::fcntl(fd_, F_SETOWN, 0));
  has_lease_ = true;
  writers_ = sees_mappings(fd_) ? Writers::kNone : Writers::kUnknown;
}

ReadLease::~ReadLease() {
  if (has_lease_) static_cast<void>(::fcntl(fd_, F_SETLEASE, F_UNLCK));
}

bool ReadLease::is_held() const {
  // While a lease is being broken, F_GETLEASE returns its future type.
  return has_lease_ && ::fcntl(fd_, F_GETLEASE) == F_RDLCK;
}

// NOLINTEND(cppcoreguidelines-pro-type-vararg)

Writers writers_of(int fd) { return ReadLease(fd).writers(); }

Status refuse_writers(Writers writers, const std::string& object) {
  if (writers != Writers::kSome) return {};
  return fail(ErrorKind::kBusy,
              "'{}' is open for writing, or mapped writable, in another process, so its contents "
              "could still change; end that process (fuser finds it) and try again",
              object);
}

}  // namespace lamina::os
