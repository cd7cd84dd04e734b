#include "lifecycle/memory_file_choice.h"

#include <fcntl.h>

#include <utility>

#include "base/error.h"
#include "lifecycle/finish.h"
#include "os/directory.h"
#include "os/file.h"
#include "vmm/firecracker/version.h"

namespace lamina::lifecycle {
namespace {

constexpr std::uint64_t kBytesPerMib = std::uint64_t{1} << 20;
/// Up to here x86 guests have one region of memory; older Firecrackers write wrong diffs of two.
constexpr std::uint64_t kMaxSingleRegionBytes = std::uint64_t{3} << 30;

std::string obstacle_of(const os::HoleProbe& probe, const std::string& place) {
  if (probe.is_exact) return {};
  return fmt::format("holes in '{}' cannot be trusted: {}", place, probe.explanation);
}

/// Why holes of a diff cannot be trusted; empty if they can. `probe` is that of the place where the
/// VMM will write.
Result<std::string> distrust_holes(const ClaimedVm& claimed, std::uint64_t memory_bytes,
                                   os::HoleProbe& probe) {
  const std::string& store = claimed.store->path();
  // Where a file that a power failure leaves of the probe is removed.
  LAMINA_ASSIGN_OR_RETURN(probe,
                          os::probe_holes(claimed.store->temporary_area(), memory_bytes, store));
  std::string obstacle = obstacle_of(probe, store);
  if (!obstacle.empty() || !claimed.jail.is_apart()) return obstacle;
  // From the jail it comes into the store, by a rename or a copy: holes must be exact in both.
  const std::string& root = claimed.jail.root();
  LAMINA_ASSIGN_OR_RETURN(const os::Fd fd, os::open_directory(AT_FDCWD, root, root));
  LAMINA_ASSIGN_OR_RETURN(probe, os::probe_holes(fd.get(), memory_bytes, root));
  return obstacle_of(probe, root);
}

}  // namespace

Result<ExaminedVm> examine_vm(ClaimedVm& claimed) {
  LAMINA_ASSIGN_OR_RETURN(vmm::InstanceInfo instance, claimed.vmm.describe());
  if (instance.state == vmm::VmState::kNotStarted) {
    return fail(ErrorKind::kFailed, "the Firecracker at '{}' has no VM that could be paused",
                claimed.vmm.api_socket());
  }
  LAMINA_RETURN_IF_ERROR(vmm::require_supported(instance.version));
  LAMINA_ASSIGN_OR_RETURN(const vmm::MachineConfig machine, claimed.vmm.machine_config());
  std::uint64_t hotplug_mib = 0;
  if (vmm::has_feature(instance.version, vmm::Feature::kHotplugMemory)) {
    LAMINA_ASSIGN_OR_RETURN(hotplug_mib, claimed.vmm.hotplug_memory_mib());
  }
  LAMINA_ASSIGN_OR_RETURN(const LastCreate last_create, LastCreate::of(claimed.vmm));
  auto base = open_base(*claimed.store, claimed.pin);
  ExaminedVm examined{.instance = std::move(instance),
                      .machine = machine,
                      .hotplug_mib = hotplug_mib,
                      .memory_bytes = (machine.memory_mib + hotplug_mib) * kBytesPerMib,
                      .last_create = last_create,
                      .base = std::nullopt,
                      .base_error = {}};
  if (base) {
    examined.base = std::move(*base);
  } else {
    examined.base_error = one_line(base.error());
  }
  return examined;
}

std::string why_full(const ExaminedVm& examined, const std::optional<store::PinFacts>& facts,
                     bool asked_for_full) {
  if (asked_for_full) return "asked for";
  if (!examined.base_error.empty()) {
    return fmt::format("what the VM's changes count from cannot be read: {}", examined.base_error);
  }
  if (!examined.base || !facts) return "the VM's first pause here";
  if (facts->needs_full) {
    return "an earlier memory file was not acknowledged, so the dirty bits may be gone";
  }
  if (facts->base_in_flight) {
    return "what the VM was forked from was not on the disk yet, or could not be stored";
  }
  if (std::string why = examined.last_create.why_not(examined.base->pause_id); !why.empty()) {
    return why;
  }
  if (!examined.machine.track_dirty_pages) {
    return "track_dirty_pages is off in the machine's configuration";
  }
  if (examined.base->header.memory_bytes != examined.memory_bytes) {
    return fmt::format("the VM has {} bytes of memory now, its base {}", examined.memory_bytes,
                       examined.base->header.memory_bytes);
  }
  // Hotpluggable memory is a region of its own.
  const bool has_two_regions =
      examined.memory_bytes > kMaxSingleRegionBytes || examined.hotplug_mib > 0;
  const auto version = vmm::parse_version(examined.instance.version);
  if (has_two_regions && (!version || !vmm::writes_correct_large_diffs(*version))) {
    return fmt::format(
        "Firecracker {} writes wrong diffs of more than 3 GiB or of hotpluggable memory",
        examined.instance.version);
  }
  return {};
}

Result<MemoryFileChoice> choose_memory_file(const ClaimedVm& claimed, const ExaminedVm& examined,
                                            bool asked_for_full) {
  MemoryFileChoice choice;
  choice.reason = why_full(examined, claimed.pin.facts(), asked_for_full);
  if (!choice.reason.empty()) return choice;
  LAMINA_ASSIGN_OR_RETURN(choice.reason,
                          distrust_holes(claimed, examined.memory_bytes, choice.probe));
  if (!choice.reason.empty()) return choice;
  choice.is_diff = true;
  choice.reason =
      fmt::format("of what changed since pause {}", examined.base->pause_id.to_string());
  return choice;
}

}  // namespace lamina::lifecycle
