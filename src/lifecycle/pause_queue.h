// The pauses of a store that are not finished, found by their journals; and two operations on
// pauses that cannot be continued as they are, for which there is no PendingPause.
#pragma once

#include <string>
#include <vector>

#include "lamina/result.h"
#include "lamina/uuid.h"
#include "store/pause_journal.h"
#include "store/store.h"

namespace lamina::lifecycle {

/// The unfinished pauses of a store.
struct PendingPauses {
  /// In the order in which they began. Read without their locks: they may change or end at any
  /// time.
  std::vector<store::PauseJournal> journals;
  /// Those of other stores, which a copy of a store contains: they must be left alone here.
  std::vector<store::PauseJournal> foreign;
  /// Messages about journals that cannot be read: their VMs are not known, and they may have been
  /// acknowledged.
  std::vector<std::string> unreadable;
};
/// Looks for them. Fails only if the store's pending area cannot be read.
Result<PendingPauses> pending_pauses(const store::Store& store);

/// Makes another store's pause belong to this store, durably. Its VM, API socket and jail remain
/// the other store's: the journal no longer names them. kFailed if files of an acknowledged pause
/// are missing.
Status adopt_pause(const store::Store& store, const Uuid& id);

/// Removes a pause whose journal cannot be read, and its files. Its VM is not known, so every VM's
/// next memory file must have been made a full one before.
Status remove_unreadable_pause(const store::Store& store, const Uuid& id);

}  // namespace lamina::lifecycle
