// Removing snapshots.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lamina/progress.h"
#include "lamina/result.h"
#include "lamina/uuid.h"

namespace lamina {

struct RemoveOptions {
  std::vector<std::string> snapshots{};  ///< paths: STORE/NAME
  bool dry_run = false;                  ///< changes nothing, and reports what would be removed
  /// With one snapshot: it is removed only if it has the state of this pause. Otherwise its result
  /// is the error kNotFound.
  std::optional<Uuid> pause_id{};
  /// May be null. Asked to stop between snapshots; those that were not begun by then stay, and have
  /// the error kInterrupted in the report. A snapshot whose removal has begun is removed.
  Progress* progress = nullptr;
};

/// The result for one snapshot.
struct RemovedSnapshot {
  std::string snapshot;        ///< path
  std::optional<Error> error;  ///< why it was not removed
  std::optional<Uuid> pause_id;
  std::uint64_t running_vms = 0;  ///< resumed from it; their pins keep the files that they need
  std::uint64_t freed_bytes = 0;  ///< allocated bytes of files whose last name was removed
  std::uint64_t remaining_bytes =
      0;  ///< allocated bytes of files with other names: snapshots, pins
};

struct RemoveReport {
  std::vector<RemovedSnapshot> snapshots;  ///< in the order given, each once
  std::vector<std::string> notes;          ///< one line each

  /// The error of the first snapshot that was not removed; null if all were. Valid as long as the
  /// report is unchanged.
  [[nodiscard]] const Error* first_error() const {
    for (const RemovedSnapshot& removed : snapshots) {
      if (removed.error) return &*removed.error;
    }
    return nullptr;
  }
};

/// Removes snapshots, one after the other. Success does not mean that all were removed: if one
/// cannot be, its entry in the report has the error, and the others are removed all the same
/// (RemoveReport::first_error()). A rename takes each out of the store, and is on the disk before
/// its files are removed: a crash at any moment leaves the snapshot whole or gone, and the next
/// writer of the store removes the remaining files. Running VMs and open readers are not harmed:
/// pins and descriptors keep what they need.
///
/// Errors of one snapshot: kNotFound; kBusy: another writer has the lock of the name, which is not
/// waited for; kInterrupted; kFailed: a symbolic link, not a snapshot, or another failure. The call
/// itself fails, before anything is removed, with kUsage if a path cannot name a snapshot.
/// Thread-safe.
Result<RemoveReport> remove_snapshots(const RemoveOptions& options);

}  // namespace lamina
