// The third phase of a resume: puts the files that Firecracker is to load where it can find them.
#pragma once

#include <string>

#include "lamina/lifecycle.h"
#include "lamina/result.h"
#include "lifecycle/claimed_vm.h"
#include "lifecycle/resume_mode.h"
#include "store/snapshot_directory.h"

namespace lamina::lifecycle {

struct LoadableState {
  ResumeMode mode = ResumeMode::kPageFaults;  ///< kPageFaults or kFile
  std::string reason;
  std::string vmstate;  ///< path, as Firecracker sees it
  std::string backend;  ///< the same: of the page server's socket or of the memory file
  bool started_page_server = false;
};

/// Records in the VM's pin what it is resumed from and how, and makes the directory in the jail if
/// there is one. `is_in_flight`: PinFacts::base_in_flight. To be called before anything is given to
/// the VM, so that recover() finds everything that a crash leaves.
Status record_resume(ClaimedVm& claimed, const store::OpenSnapshot& snapshot, ResumeMode mode,
                     const ResumeOptions& options, bool is_in_flight);

/// Gives the VM its state and its memory: starts a page server or materializes a file, and checks
/// that Firecracker's process finds both. A load that fails would cost that process. REQUIRES:
/// record_resume().
Result<LoadableState> provide_state(ClaimedVm& claimed, const store::OpenSnapshot& snapshot,
                                    const ResumeModeChoice& choice, const ResumeOptions& options);

}  // namespace lamina::lifecycle
