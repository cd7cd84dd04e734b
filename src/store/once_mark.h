// Snapshots that may be resumed only once (SnapshotFacts::once).
//
//   <store>/.counts/<pause id>@once     exists: consumed. One line: when, and the VM's process
//
// The mark is on the disk before a VM is loaded. It is of the pause, so merges and other names do
// not bring a second resume, and its name has no store: a copy of the store is consumed as well. It
// is removed with the last snapshot of the pause, like a resume count. A mark forbids resumes even
// if the snapshot's facts have lost `once` (repair() could not restore it).
//
// A copy of the snapshot elsewhere (in a bucket, a pack, a backup from before) is not known here.
#pragma once

#include <optional>
#include <string>

#include "lamina/result.h"
#include "lamina/uuid.h"
#include "store/store.h"

namespace lamina::store {

/// Consumes the only resume of `pause_id`, durably, for the VM process `vm`. Of several processes
/// at the same time one succeeds. kExists: it is consumed; the message says by whom.
Status consume_once(const Store& store, const Uuid& pause_id, const std::string& vm);

/// Takes the mark of consume_once() back, durably.
Status give_back_once(const Store& store, const Uuid& pause_id);

/// When and by which process the pause was consumed; absent: it was not. `store`: the store's
/// descriptor.
Result<std::optional<std::string>> consumed_once(int store, const Uuid& pause_id);

}  // namespace lamina::store
