#include "sys/machine.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "sys/fd.h"
#include "sys/kernel_definitions.h"

namespace lamina::sys {
namespace {

/// userfaultfd(2), or /dev/userfaultfd where the system call is reserved to the privileged.
Fd open_userfaultfd() {
  const int flags = O_CLOEXEC | O_NONBLOCK;
  Fd fd(static_cast<int>(::syscall(SYS_userfaultfd, flags)));
  if (fd.valid()) return fd;
  const int error = errno;
  const Fd device(::open("/dev/userfaultfd", O_RDWR | O_CLOEXEC));
  if (device.valid()) {
    const Fd from_device(::ioctl(device.get(), USERFAULTFD_IOC_NEW, flags));
    if (from_device.valid()) return Fd(::dup(from_device.get()));
  }
  errno = error;
  return fd;
}

void examine_userfaultfd(MachineFacts& facts) {
  const Fd fd = open_userfaultfd();
  if (!fd.valid()) {
    facts.userfaultfd_error = std::strerror(errno);
    return;
  }
  uffdio_api api{};
  api.api = UFFD_API;
  if (::ioctl(fd.get(), UFFDIO_API, &api) != 0) {
    facts.userfaultfd_error = std::strerror(errno);
    return;
  }
  facts.userfaultfd = true;
  facts.userfaultfd_features = api.features;
}

/// Taking a descriptor from ourselves needs the system call but no rights over others.
bool try_pidfd_getfd() {
  const Fd self(static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0)));
  if (!self.valid()) return false;
  const Fd taken(static_cast<int>(::syscall(SYS_pidfd_getfd, self.get(), self.get(), 0)));
  return taken.valid();
}

}  // namespace

MachineFacts examine_machine() {
  MachineFacts facts;
  utsname name{};
  if (::uname(&name) == 0) facts.kernel = static_cast<const char*>(name.release);
  examine_userfaultfd(facts);
  facts.pidfd_getfd = try_pidfd_getfd();
  facts.kvm = Fd(::open("/dev/kvm", O_RDWR | O_CLOEXEC)).valid();
#if defined(__x86_64__)
  facts.avx2 = __builtin_cpu_supports("avx2") != 0;
#endif
  return facts;
}

}  // namespace lamina::sys
