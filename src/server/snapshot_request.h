// What a VM asks of its snapshot, and the files that answer it, read and checked.
//
// Reading may take long: a header has up to millions of extents, a layer eight bytes for each
// block, and the disk below may be slow or stuck. So it is apart from the table of what is open
// (snapshots.h), uses nothing that another thread uses, and may be done by any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "lamina/result.h"
#include "lamina/serve.h"
#include "lamina/uuid.h"
#include "os/fd.h"
#include "os/file.h"
#include "pager/session.h"
#include "store/snapshot_directory.h"

namespace lamina::server {

/// A snapshot that is open: its header in memory, its layers by descriptor.
struct Snapshot {
  std::string path;  ///< where it was opened, absolute
  store::OpenSnapshot opened;
  os::Fd header;  ///< kept open: the numbers of its file cannot be given to another one
  os::FileFacts header_facts;
};

/// A working set that is replayed. Its file is kept open, like a snapshot's header.
struct Replay {
  pager::PopulatePlan plan;
  os::OpenedFile file;
};

struct SnapshotRequest {
  std::string path;  ///< absolute: of a snapshot, or of a pin's base
  Populate populate = Populate::kNone;
  bool record = false;
  std::string recorded_to;  ///< path of the snapshot that gets the working set; empty: none
  /// A pin's base, which may be any state that its VM goes on with; else a snapshot by its name,
  /// which must still be the pause `pause_id`.
  bool is_pinned = false;
  std::optional<Uuid> pause_id;
  std::optional<std::uint64_t> memory_bytes;  ///< of the VM: nothing when it has not said it yet
  /// Tells which requests are for one snapshot: those with the same key need one reading.
  std::string key;
  std::shared_ptr<const Snapshot> open;  ///< null: it is to be read
};

/// The files of a request.
struct SnapshotFiles {
  std::optional<Snapshot> snapshot;  ///< nothing when it was open already
  std::optional<Replay> replay;      ///< nothing without `Populate`, or when it cannot be used
  std::string replay_failure;        ///< why it cannot be used
};

/// Reads and checks the snapshot at `path`, its working set aside.
Result<Snapshot> read_snapshot(const std::string& path);

/// The working set's file of a request, opened. `directory`: the snapshot's.
Result<os::OpenedFile> open_working_set(const SnapshotRequest& request, int directory);

/// Reads and checks all that `request` needs. A working set is a hint: without it there is a
/// snapshot all the same.
Result<SnapshotFiles> read_files(const SnapshotRequest& request);

}  // namespace lamina::server
