// The second half of a pause, the same whether it runs at once or after a crash: from an
// acknowledged memory file to a snapshot, and from a snapshot to what was to become of the VM.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "lamina/lifecycle.h"
#include "lamina/result.h"
#include "lifecycle/pending_pause.h"
#include "store/pin.h"
#include "store/store.h"
#include "vmm/firecracker/client.h"

namespace lamina::lifecycle {

struct FinishedPause {
  std::string name;  ///< it was published as
  CompletedPause found;
  // Zeros when an earlier try had published it.
  std::uint64_t generation = 0;
  std::uint64_t memory_bytes = 0;
  double complete_ms = 0;
  double publish_ms = 0;
};

/// True when somebody has removed what an acknowledged pause wrote: its state cannot be had any
/// more, and dirty bits that the VM has forgotten went with it.
Result<bool> has_lost_files(const PendingPause& pending, const store::Pin& pin);

/// Completes and publishes an acknowledged pause, and moves the VM's pin on to it. Repeatable. The
/// journal stays. REQUIRES: both are locked. On failure the pause stays queued.
Result<FinishedPause> finish_pause(const store::Store& store, PendingPause& pending,
                                   store::Pin& pin, std::vector<std::string>& notes);

/// Gives up a pause that was not acknowledged: the next memory file of its VM is a full one.
Status give_up_pause(PendingPause& pending, store::Pin& pin);

/// Dirty bits may have been lost.
Status require_full(store::Pin& pin);

/// What was done about pauses that had not ended.
struct SettledPauses {
  std::uint64_t completed = 0;
  std::uint64_t discarded = 0;
  std::uint64_t resumed_vms = 0;
  std::vector<std::string> notes;
};

/// Ends one pause of a VM that lives: completes it when it was acknowledged, else gives it up, and
/// lets a VM run again that it has left frozen. Never stops a VM. `completing` is held while a
/// pause is completed, not while the VM is asked. REQUIRES: both are locked.
Status settle_pause(const store::Store& store, PendingPause& pending, store::Pin& pin,
                    vmm::Firecracker& vmm, Mutex& completing, SettledPauses& settled);

/// The state that a diff of this pin counts from: under its name when it was merged there
/// meanwhile (fewer layers), else the pin's. Nothing when the pin has no base.
Result<std::optional<store::OpenSnapshot>> open_base(const store::Store& store,
                                                     const store::Pin& pin);

/// Ends what earlier pauses of this VM have left. kFailed when an acknowledged one cannot be
/// completed, or a journal cannot be read, which may be one: nothing newer of the VM may come
/// before it. REQUIRES: the pin is locked.
Status settle_queue(const store::Store& store, store::Pin& pin, vmm::Firecracker& vmm,
                    std::vector<std::string>& notes);

}  // namespace lamina::lifecycle
