// Connecting to a VMM without knowing which one it is.
#pragma once

#include <functional>
#include <string>
#include <variant>

#include "lamina/progress.h"
#include "lamina/result.h"
#include "vmm/cloud_hypervisor/client.h"
#include "vmm/firecracker/client.h"

namespace lamina::vmm {

using AnyVmm = std::variant<Firecracker, CloudHypervisor>;

/// Called when the process that listens is known, and nothing has been asked of it yet. An error
/// ends the attempt to connect.
using WhenIdentified = std::function<Status(const Vmm&)>;

/// Connects to the VMM at `api_socket`, whichever it is. One `GET /` tells: Firecracker describes
/// its VM, which its first describe() then returns without asking again; Cloud Hypervisor answers
/// 404. `progress` as in Firecracker::connect(); `when_identified` may be empty.
Result<AnyVmm> connect(const std::string& api_socket, const Timeouts& timeouts, Progress* progress,
                       const WhenIdentified& when_identified);

/// What both have.
inline Vmm& common(AnyVmm& vmm) {
  return std::visit([](auto& one) -> Vmm& { return one; }, vmm);
}

}  // namespace lamina::vmm
