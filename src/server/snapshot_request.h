// Which snapshot a VM needs, and reading the files for it.
//
// Reading may take long: a header can have millions of extents, a layer has eight bytes of
// checksums per block, and the disk may be slow or stuck. So it is separate from the table of open
// snapshots (snapshots.h), shares nothing with other threads, and may be done by any thread.
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
#include "store/arrival.h"
#include "store/snapshot_directory.h"

namespace lamina::server {

/// A snapshot that is open: its header in memory, its layers by descriptor. While its header's file
/// is open, the numbers of that file are not given to another one.
struct Snapshot {
  std::string path;  ///< where it was opened, absolute
  store::OpenSnapshot opened;
  std::shared_ptr<const store::Arrival> arrival;  ///< null: all blocks are here

  [[nodiscard]] const os::FileFacts& header_facts() const { return opened.header_file.facts; }
};

/// A working set that is replayed. Its file is kept open, like a snapshot's header.
struct Replay {
  pager::PopulatePlan plan;
  os::OpenedFile file;
};

/// What is recorded of a VM's first touches.
enum class Recorded : std::uint8_t { kNothing, kFaults, kTouches };

struct SnapshotRequest {
  std::string path;  ///< absolute: of a snapshot, or of a pin's base
  Populate populate = Populate::kNone;
  Recorded record = Recorded::kNothing;
  std::string recorded_to;  ///< path of the snapshot that gets the working set; empty: none
  /// True: a pin's base, in whatever state it is now. False: a snapshot by name, which must still
  /// be the pause `pause_id`.
  bool is_pinned = false;
  std::optional<Uuid> pause_id;
  std::optional<std::uint64_t> memory_bytes;  ///< of the VM; nullopt: not known yet
  /// Requests with the same key are for the same snapshot and need one reading.
  std::string key;
  std::shared_ptr<const Snapshot> open;  ///< null: it must be read
};

/// The files of a request.
struct SnapshotFiles {
  std::optional<Snapshot> snapshot;  ///< nullopt if it was open already
  std::optional<Replay> replay;      ///< nullopt if not requested, or if it cannot be used
  std::string replay_failure;        ///< why it cannot be used
};

/// Reads and checks the snapshot at `path`, without its working set.
Result<Snapshot> read_snapshot(const std::string& path);

/// Opens the working set's file of a request in the snapshot's `directory`.
Result<os::OpenedFile> open_working_set(const SnapshotRequest& request, int directory);

/// Reads and checks everything that `request` needs. A working set is a hint: if it cannot be used,
/// this succeeds without it.
Result<SnapshotFiles> read_files(const SnapshotRequest& request);

}  // namespace lamina::server
