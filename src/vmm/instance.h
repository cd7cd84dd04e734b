// What a VMM says about its VM.
#pragma once

#include <cstdint>
#include <string>

namespace lamina::vmm {

enum class VmState : std::uint8_t { kNotStarted, kRunning, kPaused };

/// What the API says about the VM. The texts have no control characters.
struct InstanceInfo {
  std::string id;
  VmState state = VmState::kNotStarted;
  std::string version;  ///< of the VMM
};

}  // namespace lamina::vmm
