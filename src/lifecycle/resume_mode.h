// The second phase of a resume: whether Firecracker gets the memory by page faults or as a file.
#pragma once

#include <string>

#include "lamina/lifecycle.h"
#include "lamina/result.h"
#include "lifecycle/claimed_vm.h"
#include "store/snapshot_directory.h"

namespace lamina::lifecycle {

struct ResumeModeChoice {
  ResumeMode mode = ResumeMode::kPageFaults;  ///< kPageFaults or kFile
  std::string reason;
  /// True if a file may be used when the page server cannot be reached.
  bool may_fall_back = false;
};

/// The pages that the VM will be on, in Firecracker's words; empty if they are not known.
std::string pages_after_load(const store::OpenSnapshot& snapshot, const ResumeOptions& options);

/// Decides by the requested mode, by what Firecracker can load, and for kAuto by what is faster
/// here. kUnsupported if the requested mode is impossible. `version`: Firecracker's.
Result<ResumeModeChoice> choose_resume_mode(const ClaimedVm& claimed,
                                            const store::OpenSnapshot& snapshot,
                                            const std::string& version,
                                            const ResumeOptions& options);

}  // namespace lamina::lifecycle
