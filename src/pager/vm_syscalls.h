// The system calls on one VM: on its userfaultfd, its pidfd and its page table, and the clock.
//
// They are an interface so that tests can serve a VM that exists only in memory (SimulatedVm). A
// virtual call takes about a nanosecond, and each of these calls microseconds.
#pragma once

#include <linux/userfaultfd.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "lamina/result.h"
#include "os/userfaultfd.h"

namespace lamina::pager {

/// The descriptors of a VM. They must outlive its session.
struct VmDescriptors {
  int userfaultfd = -1;
  int pidfd = -1;
};

/// Used by one thread. Results, errors and preconditions are those of os/userfaultfd.h,
/// os/page_table.h and os/process.h. No function waits.
class VmSyscalls {
 public:
  VmSyscalls() = default;
  VmSyscalls(const VmSyscalls&) = delete;
  VmSyscalls& operator=(const VmSyscalls&) = delete;
  VmSyscalls(VmSyscalls&&) = delete;
  VmSyscalls& operator=(VmSyscalls&&) = delete;
  virtual ~VmSyscalls() = default;

  virtual Result<std::size_t> read_events(std::span<uffd_msg> slots) = 0;
  virtual os::FillResult copy(std::uint64_t address, std::span<const std::byte> source) = 0;
  virtual os::FillResult zero(std::uint64_t address, std::uint64_t length) = 0;
  virtual Status wake(std::uint64_t address, std::uint64_t length) = 0;
  virtual Status unregister(std::uint64_t address, std::uint64_t length) = 0;
  virtual bool poison(std::uint64_t address, std::uint64_t length) = 0;
  /// False also if it cannot be found out.
  virtual bool has_page(std::uint64_t address) = 0;
  /// True if the VM's process has exited.
  virtual bool has_ended() = 0;
  virtual Status kill() = 0;
  virtual std::uint64_t monotonic_ns() = 0;
};

/// The kernel's.
class KernelVmSyscalls final : public VmSyscalls {
 public:
  KernelVmSyscalls(const VmDescriptors& descriptors, pid_t pid) : fds_(descriptors), pid_(pid) {}

  [[nodiscard]] const VmDescriptors& descriptors() const { return fds_; }

  Result<std::size_t> read_events(std::span<uffd_msg> slots) override;
  os::FillResult copy(std::uint64_t address, std::span<const std::byte> source) override;
  os::FillResult zero(std::uint64_t address, std::uint64_t length) override;
  Status wake(std::uint64_t address, std::uint64_t length) override;
  Status unregister(std::uint64_t address, std::uint64_t length) override;
  bool poison(std::uint64_t address, std::uint64_t length) override;
  bool has_page(std::uint64_t address) override;
  bool has_ended() override;
  Status kill() override;
  std::uint64_t monotonic_ns() override;

 private:
  VmDescriptors fds_;
  pid_t pid_;
};

}  // namespace lamina::pager
