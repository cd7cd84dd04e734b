// A resume from a directory that need not be a published snapshot: that of a pause which is not on
// the disk yet (live_fork.cc), or that of a snapshot whose memory is being fetched
// (arriving_base.h).
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "lamina/lifecycle.h"
#include "lamina/result.h"
#include "store/snapshot_facts.h"
#include "store/store.h"

namespace lamina::lifecycle {

struct ResumeSource {
  std::string path;  ///< of the directory
  /// The directory is not on the disk yet, and has no facts: these hold. The VM's pin then says
  /// that its base is in flight (PinFacts::base_in_flight), until the caller settles it.
  std::optional<store::SnapshotFacts> in_flight;
  /// Called once: when the VM no longer needs the directory, or the resume has failed before. May
  /// be empty.
  std::function<void()> pinned;
  bool is_arriving = false;
  /// Of one that is arriving: keeps it there until it is pinned.
  std::shared_ptr<const store::Store> store{};
  std::optional<store::NameLock> lock{};
};

/// resume(), from `source` instead of ResumeOptions::name, which is only recorded.
Result<ResumeReport> resume_from(ResumeSource source, const ResumeOptions& options);

}  // namespace lamina::lifecycle
