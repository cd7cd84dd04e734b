#include "lifecycle/last_create.h"

#include <poll.h>

#include <span>

#include "base/error.h"
#include "format/checksum.h"
#include "os/lock.h"
#include "os/process_mark.h"

namespace lamina::lifecycle {
namespace {

Error met_another(pid_t pid) {
  return with_remedy(
             fail(ErrorKind::kBusy,
                  "another lamina has asked the VM of process {} for its memory at the same time "
                  "(for another store?)",
                  pid),
             "try again")
      .error();
}

}  // namespace

std::uint64_t mark_of(const Uuid& pause_id) {
  const std::uint64_t sum = format::checksum64(std::as_bytes(std::span(pause_id.bytes)));
  return (sum >> 2U) | os::kProcessMarkBit;
}

Status lock_vm(const vmm::Vmm& vmm) {
  // A recovery that resumes a VM has the lock for a moment.
  constexpr int kAttempts = 20;
  constexpr int kPauseMs = 10;
  for (int i = 0; i < kAttempts; ++i) {
    LAMINA_ASSIGN_OR_RETURN(const bool locked, os::try_lock_process(vmm.pidfd(), vmm.uid()));
    if (locked) return {};
    ::poll(nullptr, 0, kPauseMs);
  }
  return fail(ErrorKind::kBusy,
              "another operation on the VM of process {} is under way, for this or another store; "
              "try again when it has ended",
              vmm.pid());
}

void unlock_vm(const vmm::Vmm& vmm) { os::unlock(vmm.pidfd()); }

Result<LastCreate> LastCreate::of(const vmm::Vmm& vmm) {
  LAMINA_ASSIGN_OR_RETURN(const std::optional<std::uint64_t> mark, os::process_mark(vmm.pid()));
  return LastCreate(vmm.pid(), mark);
}

std::string LastCreate::why_not(const Uuid& base) const {
  if (mark_ == mark_of(base)) return {};
  if (!mark_) {
    return fmt::format("it is not on record with process {} what its changes count from", pid_);
  }
  return fmt::format(
      "the last memory file of process {} was another than its base {} here (it went to another "
      "store or a copy, was not acknowledged, or this store was put back)",
      pid_, base.to_string());
}

Status LastCreate::ask(const Uuid& pause_id) {
  const auto before = os::exchange_process_mark(pid_, mark_of(pause_id));
  if (!before) {
    if (before.error().kind == ErrorKind::kNotFound) return std::unexpected(before.error());
    LAMINA_ASSIGN_OR_RETURN(const std::optional<std::uint64_t> now, os::process_mark(pid_));
    if (!now && !mark_) return {};
    return with_remedy(
        std::unexpected(with_context(
            fmt::format("what the changes of the VM of process {} count from is on record with the "
                        "process, and this user may not change that",
                        pid_),
            before.error())),
        "run lamina as the VM's user and group, or with CAP_SYS_RESOURCE");
  }
  const bool is_alone = *before == mark_;
  mark_ = mark_of(pause_id);
  if (!is_alone) return std::unexpected(met_another(pid_));
  return {};
}

Status LastCreate::check_alone() {
  if (!mark_) return {};
  // Set it again: the mark that is there now is that of a pause that never becomes a base.
  LAMINA_ASSIGN_OR_RETURN(const std::optional<std::uint64_t> before,
                          os::exchange_process_mark(pid_, *mark_));
  if (before != mark_) return std::unexpected(met_another(pid_));
  return {};
}

}  // namespace lamina::lifecycle
