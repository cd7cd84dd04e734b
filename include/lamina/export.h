// A snapshot as a directory that a VMM loads by itself, without lamina.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lamina/materialize.h"
#include "lamina/progress.h"
#include "lamina/result.h"
#include "lamina/uuid.h"

namespace lamina {

struct FirecrackerExportOptions {
  std::string snapshot{};  ///< path: STORE/NAME
  /// Path of the directory, which must not exist: also for Store::export_firecracker() never a name
  /// in the store.
  std::string out{};
  Reflink reflink = Reflink::kAuto;  ///< of the memory file
  Progress* progress = nullptr;      ///< may be null
};

struct FirecrackerExportReport {
  Uuid pause_id;
  std::uint64_t memory_bytes = 0;
  std::uint64_t data_bytes = 0;    ///< the rest of the memory file is holes
  std::uint64_t cloned_bytes = 0;  ///< of the data, what shares storage with layers
  std::uint64_t vmstate_bytes = 0;
  std::vector<std::string> attached;  ///< names of attached files
  std::string vmm_version;            ///< the Firecracker that the VM ran in; empty: not known
  std::vector<std::string> notes;     ///< one line each
};

/// Writes a directory with what Firecracker (1.7 or newer) loads:
///
///   snapshot_file   the VM state, compared with its digest
///   mem_file        the memory, sparse, every block checked
///   attached/       the snapshot's attached files, with their holes, modes and hard links; only if
///                   it has any
///   load.json       the body of PUT /snapshot/load, for a Firecracker whose working directory
///                   this is
///   README.md       how to load it, and what it needs besides
///
/// Directories have mode 0700, files that are not attached 0600, and all belong to the effective
/// user. The directory gets its name when all of it is on the disk. Until then it is called
/// ".NAME.<UUID>"; a process that is killed leaves that.
///
/// On failure there is no directory, unless only the last sync of the directory around it failed.
/// kNotFound: the snapshot, or the directory around `out`; kCorrupt: the snapshot; kUsage: `out`
/// cannot name a directory; kExists: `out` exists; kUnsupported: the snapshot has no VM state, or
/// the VM's memory is on 2 MiB pages, which Firecracker does not load from a file, or storage
/// cannot be shared, with Reflink::kAlways; kBusy: the snapshot was replaced again and again
/// meanwhile; kNoSpace; kInterrupted; else kFailed. Thread-safe.
Result<FirecrackerExportReport> export_firecracker(const FirecrackerExportOptions& options);

}  // namespace lamina
