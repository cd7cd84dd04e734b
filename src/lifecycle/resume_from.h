// A resume from a directory that need not be a published snapshot: that of a pause which is not on
// the disk yet (live_fork.cc).
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "lamina/lifecycle.h"
#include "lamina/result.h"
#include "store/snapshot_facts.h"

namespace lamina::lifecycle {

struct ResumeSource {
  std::string path;  ///< of the directory
  /// The directory is not on the disk yet, and has no facts: these hold. The VM's pin then says
  /// that its base is in flight (PinFacts::base_in_flight), until the caller settles it.
  std::optional<store::SnapshotFacts> in_flight;
  /// Called once: when the VM no longer needs the directory, or the resume has failed before. May
  /// be empty.
  std::function<void()> pinned;
};

/// resume(), from `source` instead of ResumeOptions::name, which is only recorded.
Result<ResumeReport> resume_from(const ResumeSource& source, const ResumeOptions& options);

}  // namespace lamina::lifecycle
