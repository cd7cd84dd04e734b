#include "os/machine.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <string_view>
#include <vector>

#include "os/fd.h"
#include "os/file.h"
#include "os/kernel_definitions.h"

namespace lamina::os {
namespace {

/// Uses userfaultfd(2), or /dev/userfaultfd if the system call is restricted to privileged users.
Fd open_userfaultfd() {
  const int flags = O_CLOEXEC | O_NONBLOCK;
  Fd fd(static_cast<int>(::syscall(SYS_userfaultfd, flags)));
  if (fd.valid()) return fd;
  const int error = errno;
  const Fd device(::open("/dev/userfaultfd", O_RDWR | O_CLOEXEC));
  if (device.valid()) {
    const Fd from_device(::ioctl(device.get(), USERFAULTFD_IOC_NEW, flags));
    if (from_device.valid()) return Fd(::fcntl(from_device.get(), F_DUPFD_CLOEXEC, 0));
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

/// Duplicates a descriptor of this process, which needs the system call but no ptrace access.
bool try_pidfd_getfd() {
  const Fd self(static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0)));
  if (!self.valid()) return false;
  const Fd taken(static_cast<int>(::syscall(SYS_pidfd_getfd, self.get(), self.get(), 0)));
  return taken.valid();
}

constexpr std::size_t kMaxCpuinfoBytes = 64U << 10;

/// The value of the first line "name : value" of /proc/cpuinfo.
std::string first_value(std::string_view text, std::string_view name) {
  for (std::size_t at = text.find(name); at != std::string_view::npos;
       at = text.find(name, at + 1)) {
    if (at != 0 && text[at - 1] != '\n') continue;
    const std::size_t colon = text.find(':', at);
    const std::size_t end = text.find('\n', at);
    if (colon == std::string_view::npos || colon + 2 > end) return {};
    return std::string(text.substr(colon + 2, end - colon - 2));
  }
  return {};
}

}  // namespace

std::string cpu_model() {
  const std::string path = "/proc/cpuinfo";
  const auto fd = open_at(AT_FDCWD, path, O_RDONLY, path);
  if (!fd) return {};
  std::vector<std::byte> buffer(kMaxCpuinfoBytes);
  const auto count = read_at(fd->get(), buffer, 0, path);
  if (!count) return {};
  const std::string_view text(reinterpret_cast<const char*>(buffer.data()), *count);
  const std::string vendor = first_value(text, "vendor_id");
  const std::string model = first_value(text, "model name");
  return vendor.empty() || model.empty() ? vendor + model : vendor + " " + model;
}

std::string kernel_release() {
  utsname name{};
  return ::uname(&name) == 0 ? static_cast<const char*>(name.release) : "";
}

MachineFacts examine_machine() {
  MachineFacts facts;
  facts.kernel = kernel_release();
  examine_userfaultfd(facts);
  facts.pidfd_getfd = try_pidfd_getfd();
  facts.kvm = Fd(::open("/dev/kvm", O_RDWR | O_CLOEXEC)).valid();
#if defined(__x86_64__)
  facts.avx2 = __builtin_cpu_supports("avx2") != 0;
#endif
  return facts;
}

}  // namespace lamina::os
