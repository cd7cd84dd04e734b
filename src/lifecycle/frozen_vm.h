// The fourth phase of a pause: from freezing the VM until it runs again.
//
// Firecracker pauses the VM and writes its files. Its response is recorded in the journal and
// synced: then the pause is acknowledged. A failure before that discards the pause. After that
// nothing is lost: a failure is reported, and the pause stays queued.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/stopwatch.h"
#include "lamina/lifecycle.h"
#include "lamina/result.h"
#include "lifecycle/claimed_vm.h"
#include "lifecycle/interruption.h"
#include "lifecycle/memory_file_choice.h"
#include "lifecycle/page_server_process.h"
#include "lifecycle/prepared_pause.h"

namespace lamina::lifecycle {

/// A frozen VM whose memory file is acknowledged.
struct FrozenVm {
  Stopwatch watch;  ///< since before Firecracker was asked to pause it
};

/// Pauses the VM, lets Firecracker write its files, and records its response: synced, or, if the
/// files are on tmpfs, beside them. `watch` and
/// `phases` measure the times. On failure the pause is discarded: the VM runs again if it did
/// before, its next memory file will be a full one, and the files are removed. If the VM cannot be
/// resumed, the journal stays, and the error says what ends the pause.
///
/// `page_server` is set to the object that keeps the VM's page server running meanwhile, if needed.
/// Its destructor may take seconds: the caller destroys it after it has unlocked everything.
Result<FrozenVm> capture_memory(ClaimedVm& claimed, ExaminedVm& examined,
                                const MemoryFileChoice& choice, PreparedPause& prepared,
                                const PauseOptions& options, Interruption& interruption,
                                std::unique_ptr<PageServerWatch>& page_server, Stopwatch& watch,
                                PausePhases& phases);

/// Captures what belongs to the state besides memory: runs the hook, then the caller's function,
/// then copies the attached files. Returns the names of the copies.
Result<std::vector<std::string>> capture_files(const PreparedPause& prepared,
                                               const PauseOptions& options);

/// Syncs those copies.
Status sync_attached(const PendingPause& pending, const std::vector<std::string>& names);

/// Lets a paused VM run. Firecracker serves one request at a time: once it has answered this
/// function's question for the VM's state, an earlier create has finished.
Status thaw(vmm::Vmm& vmm);

}  // namespace lamina::lifecycle
