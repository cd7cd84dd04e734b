// What a VM's dirty bits count from.
//
// Every snapshot/create clears the dirty bits, whichever store it is for. So the pause that they
// count from is a property of the VM's process. It is kept with the process, as a mark
// (os/process_mark.h) made from a pause id: that of the loaded snapshot, then that of each create,
// set before the create is sent. A diff is taken only if the mark is that of its base. A create
// that failed, or whose outcome is unknown, leaves the mark of a pause that never becomes a base.
// Why not a file: docs/decisions/0012-what-a-diff-counts-from.md.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "lamina/result.h"
#include "lamina/uuid.h"
#include "vmm/vmm.h"

namespace lamina::lifecycle {

/// Locks the VM's process, so that no other lamina process pauses, resumes or loads it, until
/// unlock_vm() or the end of `vmm`. kBusy if another process has the lock. Before Linux 6.9 a
/// process cannot be locked; LastCreate still detects two creates that overlap.
Status lock_vm(const vmm::Vmm& vmm);
void unlock_vm(const vmm::Vmm& vmm);

/// The mark of a process whose dirty bits count from a pause.
std::uint64_t mark_of(const Uuid& pause_id);

class LastCreate {
 public:
  /// Of process `pid`, whose mark is `mark`; nullopt: it has none.
  LastCreate(pid_t pid, std::optional<std::uint64_t> mark) : pid_(pid), mark_(mark) {}

  /// Reads the mark of the VM's process.
  static Result<LastCreate> of(const vmm::Vmm& vmm);

  /// Why the dirty bits may not count from `base`; empty if they do.
  [[nodiscard]] std::string why_not(const Uuid& base) const;

  /// Sets the mark. To be called before a create or load of `pause_id` is sent. kBusy if another
  /// process has set it since of(). If this user may not mark the process, it stays without a mark;
  /// kPermission or kFailed if it has one, which would become wrong.
  Status ask(const Uuid& pause_id);

  /// To be called before the memory file of that create is used. kBusy if another process has sent
  /// a create since: the changed pages are then in one of two memory files, and it is not known in
  /// which.
  Status check_alone();

 private:
  pid_t pid_;
  std::optional<std::uint64_t> mark_;  ///< as last read or set
};

}  // namespace lamina::lifecycle
