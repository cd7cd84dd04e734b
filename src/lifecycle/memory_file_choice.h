// The second phase of a pause: whether Firecracker is asked for a diff or for a full memory file.
//
// A diff is correct only if the VM's dirty bits count from the state that it is stored over, and if
// written and unwritten parts of the file can be told apart. The conditions are in
// docs/lifecycle.md, "Diff or full". In any doubt the memory file is a full one.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "lamina/result.h"
#include "lifecycle/claimed_vm.h"
#include "lifecycle/last_create.h"
#include "os/hole_probe.h"
#include "store/pin.h"
#include "store/snapshot_directory.h"
#include "vmm/firecracker/client.h"

namespace lamina::lifecycle {

/// What Firecracker, the VM's process and its pin say before a pause.
struct ExaminedVm {
  vmm::InstanceInfo instance;
  vmm::MachineConfig machine;
  std::uint64_t hotplug_mib = 0;  ///< memory that can be plugged, which is in the memory file too
  std::uint64_t memory_bytes = 0;
  LastCreate last_create;
  std::optional<store::OpenSnapshot> base;  ///< the state that the VM's pin counts from
  std::string base_error;                   ///< why it cannot be read; empty if it can
};

/// Asks all of it. kFailed if there is no VM that could be paused, kUnsupported if Firecracker is
/// too old. REQUIRES: the VM is locked (lock_vm()).
Result<ExaminedVm> examine_vm(ClaimedVm& claimed);

struct MemoryFileChoice {
  bool is_diff = false;
  std::string reason;
  os::HoleProbe probe;  ///< of the file system that the VMM writes a diff to
};

/// Decides. Probes, for a diff, the file systems that its holes must survive in. `asked_for_full`:
/// the caller wants a full memory file in any case.
Result<MemoryFileChoice> choose_memory_file(const ClaimedVm& claimed, const ExaminedVm& examined,
                                            bool asked_for_full);

/// Why the VM's memory file must be a full one, whatever its file system can do; empty if it need
/// not. `facts`: those of the VM's pin.
std::string why_full(const ExaminedVm& examined, const std::optional<store::PinFacts>& facts,
                     bool asked_for_full);

}  // namespace lamina::lifecycle
