#include "virtual_cpu.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/error.h"

namespace lamina::tests {
namespace {

constexpr const char* kDevice = "/dev/kvm";
// Three pages that Intel processors need somewhere outside of memory.
constexpr std::uint64_t kTaskStateAddress = 0xfffbd000;
constexpr unsigned kLogWordBits = 64;

constexpr std::uint64_t kCr0 = 0x80050033;  // PE MP ET NE WP AM PG
constexpr std::uint64_t kCr4 = 0x2a0;       // PAE PGE OSFXSR
constexpr std::uint64_t kEfer = 0x501;      // SCE LME LMA
constexpr std::uint64_t kFlags = 0x3002;    // I/O privilege for ring 3

// Offsets in ExtendedState, and their values for a processor that has just been reset.
constexpr std::size_t kFcwOffset = 0;
constexpr std::size_t kMxcsrOffset = 24;
constexpr std::size_t kXmm0Offset = 160;
constexpr std::size_t kPresentOffset = 512;
constexpr std::uint16_t kFcw = 0x37f;
constexpr std::uint32_t kMxcsr = 0x1f80;
constexpr std::uint64_t kX87AndSse = 3;

// In C++ the headers of Linux 6.1 give kvm_xsave, and so its requests, a size that is not the
// kernel's.
constexpr unsigned long kGetXsave = _IOC(_IOC_READ, KVMIO, 0xa4, sizeof(ExtendedState));
constexpr unsigned long kSetXsave = _IOC(_IOC_WRITE, KVMIO, 0xa5, sizeof(ExtendedState));

template <typename T>
Status control(const os::Fd& fd, unsigned long request, T argument, const char* name) {
  if (::ioctl(fd.get(), request, argument) < 0) return system_failure(name, kDevice, errno);
  return {};
}

kvm_segment segment(std::uint16_t selector, std::uint8_t type, bool code) {
  kvm_segment segment{};
  segment.limit = ~0U;
  segment.selector = selector;
  segment.type = type;
  segment.present = 1;
  segment.dpl = 3;
  segment.s = 1;
  segment.l = code ? 1 : 0;
  segment.g = 1;
  return segment;
}

}  // namespace

PayloadRegisters payload_registers(const CpuState& state) {
  PayloadRegisters registers{state.registers.rax, state.registers.r10, 0};
  std::memcpy(&registers.sum_of_sums, &state.extended[kXmm0Offset], sizeof(std::uint64_t));
  return registers;
}

Status VirtualCpu::check_usable() {
  const os::Fd device(::open(kDevice, O_RDWR | O_CLOEXEC));
  if (!device.valid()) return system_failure("open", kDevice, errno);
  const os::Fd machine(::ioctl(device.get(), KVM_CREATE_VM, 0UL));
  if (!machine.valid()) return system_failure("KVM_CREATE_VM", kDevice, errno);
  return {};
}

Result<VirtualCpu> VirtualCpu::create(std::span<const std::span<std::byte>> regions, DirtyLog log) {
  const os::Fd device(::open(kDevice, O_RDWR | O_CLOEXEC));
  if (!device.valid()) return system_failure("open", kDevice, errno);
  VirtualCpu made;
  made.machine_ = os::Fd(::ioctl(device.get(), KVM_CREATE_VM, 0UL));
  if (!made.machine_.valid()) return system_failure("KVM_CREATE_VM", kDevice, errno);
  LAMINA_RETURN_IF_ERROR(
      control(made.machine_, KVM_SET_TSS_ADDR, kTaskStateAddress, "KVM_SET_TSS_ADDR"));
  for (std::size_t i = 0; i < made.region_bytes_.size(); ++i) {
    kvm_userspace_memory_region slot{};
    slot.slot = static_cast<std::uint32_t>(i);
    slot.flags = log == DirtyLog::kOn ? KVM_MEM_LOG_DIRTY_PAGES : 0;
    slot.guest_phys_addr = i == 0 ? 0 : kSecondRegionAddress;
    slot.memory_size = regions[i].size();
    slot.userspace_addr = reinterpret_cast<std::uint64_t>(regions[i].data());
    LAMINA_RETURN_IF_ERROR(
        control(made.machine_, KVM_SET_USER_MEMORY_REGION, &slot, "KVM_SET_USER_MEMORY_REGION"));
    made.region_bytes_[i] = regions[i].size();
  }
  made.cpu_ = os::Fd(::ioctl(made.machine_.get(), KVM_CREATE_VCPU, 0UL));
  const int run_bytes = ::ioctl(device.get(), KVM_GET_VCPU_MMAP_SIZE, 0UL);
  if (!made.cpu_.valid() || run_bytes <= 0) {
    return system_failure("KVM_CREATE_VCPU", kDevice, errno);
  }
  made.run_bytes_ = static_cast<std::size_t>(run_bytes);
  void* run =
      ::mmap(nullptr, made.run_bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, made.cpu_.get(), 0);
  if (run == MAP_FAILED) return system_failure("mmap", kDevice, errno);
  made.run_ = static_cast<kvm_run*>(run);
  return made;
}

VirtualCpu::VirtualCpu(VirtualCpu&& other) noexcept
    : machine_(std::move(other.machine_)),
      cpu_(std::move(other.cpu_)),
      run_(std::exchange(other.run_, nullptr)),
      run_bytes_(other.run_bytes_),
      region_bytes_(other.region_bytes_) {}

VirtualCpu::~VirtualCpu() {
  if (run_ != nullptr) ::munmap(run_, run_bytes_);
}

Status VirtualCpu::reset() {
  LAMINA_ASSIGN_OR_RETURN(CpuState state, save());
  state.system.cr0 = kCr0;
  state.system.cr3 = kPageTablesAddress;
  state.system.cr4 = kCr4;
  state.system.efer = kEfer;
  state.system.cs = segment(0x13, 0xb, true);
  const kvm_segment data = segment(0x1b, 0x3, false);
  for (kvm_segment* each :
       {&state.system.ds, &state.system.es, &state.system.ss, &state.system.fs, &state.system.gs}) {
    *each = data;
  }
  std::size_t memory_bytes = 0;
  for (const std::size_t bytes : region_bytes_) memory_bytes += bytes;
  state.registers = {};
  state.registers.rip = kCodeAddress;
  state.registers.rflags = kFlags;
  state.registers.rax = kFirstRandom;
  state.registers.r8 = (memory_bytes - kWorkAddress) / kPageBytes;
  state.registers.r9 = kWorkAddress;
  state.registers.r11 = kMultiplier;
  state.registers.r12 = kIncrement;
  state.extended = {};
  std::memcpy(&state.extended[kFcwOffset], &kFcw, sizeof(kFcw));
  std::memcpy(&state.extended[kMxcsrOffset], &kMxcsr, sizeof(kMxcsr));
  std::memcpy(&state.extended[kPresentOffset], &kX87AndSse, sizeof(kX87AndSse));
  return restore(state);
}

Status VirtualCpu::restore(const CpuState& state) {
  LAMINA_RETURN_IF_ERROR(control(cpu_, KVM_SET_SREGS, &state.system, "KVM_SET_SREGS"));
  LAMINA_RETURN_IF_ERROR(control(cpu_, KVM_SET_REGS, &state.registers, "KVM_SET_REGS"));
  LAMINA_RETURN_IF_ERROR(control(cpu_, kSetXsave, &state.extended, "KVM_SET_XSAVE"));
  return control(cpu_, KVM_SET_VCPU_EVENTS, &state.events, "KVM_SET_VCPU_EVENTS");
}

Status VirtualCpu::run_chunk() {
  while (::ioctl(cpu_.get(), KVM_RUN, 0UL) < 0) {
    if (errno != EINTR && errno != EAGAIN) return system_failure("KVM_RUN", kDevice, errno);
  }
  if (run_->exit_reason != KVM_EXIT_IO || run_->io.port != kChunkPort) {
    return fail(ErrorKind::kFailed, "the payload left with exit reason {} instead of its port",
                run_->exit_reason);
  }
  // The instruction is not finished before the processor is entered again; this enters and leaves.
  run_->immediate_exit = 1;
  const int result = ::ioctl(cpu_.get(), KVM_RUN, 0UL);
  const int error_number = errno;
  run_->immediate_exit = 0;
  if (result == 0 || error_number != EINTR) {
    return system_failure("KVM_RUN", "immediate exit", result == 0 ? 0 : error_number);
  }
  return {};
}

Result<CpuState> VirtualCpu::save() const {
  CpuState state{};
  LAMINA_RETURN_IF_ERROR(control(cpu_, KVM_GET_REGS, &state.registers, "KVM_GET_REGS"));
  LAMINA_RETURN_IF_ERROR(control(cpu_, KVM_GET_SREGS, &state.system, "KVM_GET_SREGS"));
  LAMINA_RETURN_IF_ERROR(control(cpu_, kGetXsave, &state.extended, "KVM_GET_XSAVE"));
  LAMINA_RETURN_IF_ERROR(control(cpu_, KVM_GET_VCPU_EVENTS, &state.events, "KVM_GET_VCPU_EVENTS"));
  return state;
}

Result<std::vector<bool>> VirtualCpu::take_dirty_log() {
  std::vector<bool> dirty;
  for (std::size_t i = 0; i < region_bytes_.size(); ++i) {
    const std::size_t pages = region_bytes_[i] / kPageBytes;
    std::vector<std::uint64_t> words(pages / kLogWordBits + 1);
    kvm_dirty_log log{};
    log.slot = static_cast<std::uint32_t>(i);
    log.dirty_bitmap = words.data();
    LAMINA_RETURN_IF_ERROR(control(machine_, KVM_GET_DIRTY_LOG, &log, "KVM_GET_DIRTY_LOG"));
    for (std::size_t page = 0; page < pages; ++page) {
      dirty.push_back(((words[page / kLogWordBits] >> (page % kLogWordBits)) & 1) != 0);
    }
  }
  return dirty;
}

}  // namespace lamina::tests
