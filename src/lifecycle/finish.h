// The second half of a pause: from an acknowledged memory file to a published snapshot. It is the
// same whether it runs at once or after a crash.
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
#include "vmm/vmm.h"

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

/// True if the files of an acknowledged pause have been removed: its state is lost, and with it the
/// changes whose dirty bits the VM has cleared.
Result<bool> has_lost_files(const PendingPause& pending, const store::Pin& pin);

/// Completes and publishes an acknowledged pause, and makes it the base of the VM's pin. May be
/// repeated after a failure or a crash. The journal stays. On failure the pause stays queued.
/// REQUIRES: the pause and the pin are locked.
Result<FinishedPause> finish_pause(const store::Store& store, PendingPause& pending,
                                   store::Pin& pin, std::vector<std::string>& notes);

/// Discards a pause that was not acknowledged: removes its files and its journal, and makes the
/// VM's next memory file a full one.
Status give_up_pause(PendingPause& pending, store::Pin& pin);

/// Makes the VM's next memory file a full one, because dirty bits may have been lost. Durable.
Status require_full(store::Pin& pin);

/// What settle_pause() has done about unfinished pauses.
struct SettledPauses {
  std::uint64_t completed = 0;
  std::uint64_t discarded = 0;
  std::uint64_t resumed_vms = 0;
  std::vector<std::string> notes;
};

/// Ends one unfinished pause of a running VM process: completes it if it was acknowledged,
/// otherwise discards it; and resumes the VM if the pause had frozen it and it was to run. Never
/// stops a VM. `completing` is held while a pause is completed, but not while Firecracker is asked.
/// REQUIRES: the pause and the pin are locked.
Status settle_pause(const store::Store& store, PendingPause& pending, store::Pin& pin,
                    vmm::Vmm& vmm, Mutex& completing, SettledPauses& settled);

/// The state that a diff of this pin counts from: the snapshot under its name if a merge has given
/// it fewer layers, else the pin's base. nullopt if the pin has no base.
Result<std::optional<store::OpenSnapshot>> open_base(const store::Store& store,
                                                     const store::Pin& pin);

/// Ends the unfinished pauses of this VM. kFailed if an acknowledged one cannot be completed, or if
/// a journal cannot be read, which may be one of this VM: no newer state of the VM may be published
/// before it. REQUIRES: the pin is locked.
Status settle_queue(const store::Store& store, store::Pin& pin, vmm::Vmm& vmm,
                    std::vector<std::string>& notes);

}  // namespace lamina::lifecycle
