// A virtual machine of one processor and two memory regions, as small as KVM allows.
#pragma once

#include <linux/kvm.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "lamina/result.h"
#include "os/fd.h"
#include "payload.h"

namespace lamina::tests {

/// What KVM_GET_XSAVE gives: XSAVE's memory layout. Not KVM_GET_FPU, which would lose the XMM
/// registers of a machine that has not run yet: setting them leaves them marked as initial.
using ExtendedState = std::array<std::byte, 4096>;

/// All of the processor that the payload can change: the counterpart of a VM state file.
struct CpuState {
  kvm_regs registers;
  kvm_sregs system;
  ExtendedState extended;
  kvm_vcpu_events events;
};

/// The payload's part of the state.
PayloadRegisters payload_registers(const CpuState& state);

/// Not thread-safe.
class VirtualCpu {
 public:
  /// Fails where this process cannot have a virtual machine at all.
  static Status check_usable();

  enum class DirtyLog : std::uint8_t { kOn, kOff };

  /// A machine whose memory is `regions`, with the dirty log on from the start, or never. The
  /// memory must outlive it.
  static Result<VirtualCpu> create(std::span<const std::span<std::byte>> regions,
                                   DirtyLog log = DirtyLog::kOn);

  VirtualCpu(VirtualCpu&& other) noexcept;
  VirtualCpu& operator=(VirtualCpu&&) = delete;
  VirtualCpu(const VirtualCpu&) = delete;
  VirtualCpu& operator=(const VirtualCpu&) = delete;
  ~VirtualCpu();

  /// Sets the processor to the payload's beginning.
  Status reset();

  Status restore(const CpuState& state);

  /// Runs kChunkSteps steps and completes the port output that ends them, so that the state may be
  /// saved.
  Status run_chunk();

  [[nodiscard]] Result<CpuState> save() const;

  /// A flag per page of the memory, in the order of the memory file: what KVM has logged as dirty
  /// since the last call.
  Result<std::vector<bool>> take_dirty_log();

 private:
  VirtualCpu() = default;

  os::Fd machine_;
  os::Fd cpu_;
  kvm_run* run_ = nullptr;
  std::size_t run_bytes_ = 0;
  std::array<std::size_t, 2> region_bytes_{};
};

}  // namespace lamina::tests
