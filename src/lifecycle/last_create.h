// What a VM's dirty bits count from.
//
// Every create that Firecracker carries out clears them, whichever store it is for. So which pause
// they count from is a fact about the VM's process. It is kept with the process, as a mark
// (os/process_mark.h) made of a pause id: the one that was loaded, or the one of the last create
// that was asked for, put there before it is asked for. A diff is taken only when the mark is that
// of its base. A create that failed, or of which nothing is known, leaves the id of a pause that
// never becomes a base. Why not a file: docs/decisions/0012-what-a-diff-counts-from.md.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "lamina/result.h"
#include "lamina/uuid.h"
#include "vmm/firecracker/client.h"

namespace lamina::lifecycle {

/// Locks the VM's process against every other lamina that would freeze, thaw or load it, for as
/// long as `vmm` lives or until unlock_vm(). kBusy when another has it. Where the kernel cannot
/// lock a process (before Linux 6.9), LastCreate still finds out that two have met.
Status lock_vm(const vmm::Firecracker& vmm);
void unlock_vm(const vmm::Firecracker& vmm);

class LastCreate {
 public:
  /// Reads the mark of the VM's process.
  static Result<LastCreate> of(const vmm::Firecracker& vmm);

  /// Why the dirty bits may not count from `base`; empty when they do.
  [[nodiscard]] std::string why_not(const Uuid& base) const;

  /// To be called before a create or load of `pause_id` is asked for. kBusy when somebody else has
  /// asked for one since of(). Where this user may not mark the process, it stays without a mark,
  /// and kFailed is returned only if it has one, which would become untrue.
  Status ask(const Uuid& pause_id);

  /// To be called before what ask() announced is believed: kBusy when somebody else has asked for a
  /// create since, whose dirty bits are in one of the two memory files and nobody knows in which.
  Status check_alone();

 private:
  LastCreate(pid_t pid, std::optional<std::uint64_t> mark) : pid_(pid), mark_(mark) {}

  pid_t pid_;
  std::optional<std::uint64_t> mark_;  ///< as it was last seen or put
};

}  // namespace lamina::lifecycle
