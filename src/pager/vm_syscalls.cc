#include "pager/vm_syscalls.h"

#include "os/clock.h"
#include "os/page_table.h"
#include "os/process.h"

namespace lamina::pager {

Result<std::size_t> KernelVmSyscalls::read_events(std::span<uffd_msg> slots) {
  return os::uffd_read(fds_.userfaultfd, slots);
}

os::FillResult KernelVmSyscalls::copy(std::uint64_t address, std::span<const std::byte> source) {
  return os::uffd_copy(fds_.userfaultfd, address, source);
}

os::FillResult KernelVmSyscalls::zero(std::uint64_t address, std::uint64_t length) {
  return os::uffd_zero(fds_.userfaultfd, address, length);
}

Status KernelVmSyscalls::wake(std::uint64_t address, std::uint64_t length) {
  return os::uffd_wake(fds_.userfaultfd, address, length);
}

Status KernelVmSyscalls::unregister(std::uint64_t address, std::uint64_t length) {
  return os::uffd_unregister(fds_.userfaultfd, address, length);
}

bool KernelVmSyscalls::poison(std::uint64_t address, std::uint64_t length) {
  return os::uffd_poison(fds_.userfaultfd, address, length);
}

bool KernelVmSyscalls::has_page(std::uint64_t address) {
  return os::has_page(pid_, address).value_or(false);
}

bool KernelVmSyscalls::has_ended() { return os::has_ended(fds_.pidfd); }

Status KernelVmSyscalls::kill() { return os::kill_process(fds_.pidfd); }

std::uint64_t KernelVmSyscalls::monotonic_ns() { return os::monotonic_ns(); }

}  // namespace lamina::pager
