#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lamina/result.h"
#include "lamina/uuid.h"

namespace lamina {

struct RemoveOptions {
  std::vector<std::string> snapshots{};
  bool dry_run = false;  ///< changes nothing, and says what would go
};

/// What was done about one snapshot.
struct RemovedSnapshot {
  std::string snapshot;
  std::optional<Error> error;  ///< why it is still there
  std::optional<Uuid> pause_id;
  std::uint64_t running_vms = 0;      ///< that were resumed from it; their pins keep what they need
  std::uint64_t freed_bytes = 0;      ///< allocated bytes of files whose last name went
  std::uint64_t remaining_bytes = 0;  ///< of files that have other names: snapshots, pins
};

struct RemoveReport {
  std::vector<RemovedSnapshot> snapshots;  ///< in the order given, each once
  std::vector<std::string> notes;
};

/// Removes snapshots, one after the other; one that cannot be removed does not keep the others.
/// Each is taken out of the store by a rename that is on the disk before its files go: a crash at
/// any moment leaves it whole or gone, and what is left of its files is removed by the next writer
/// of the store. Takes the lock of each name without waiting. Running VMs are not harmed.
///
/// Per snapshot: kNotFound, kBusy (another writer has it), kFailed (a symbolic link, no snapshot).
/// For all of them, before anything is removed: kUsage, when one of them cannot name a snapshot.
Result<RemoveReport> remove_snapshots(const RemoveOptions& options);

}  // namespace lamina
