// The contents of a store: its snapshots with their sizes and lineage, the VMs that were resumed
// from them, and memory that is on its way into the store.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lamina/header_format.h"
#include "lamina/pause_record.h"
#include "lamina/result.h"
#include "lamina/uuid.h"
#include "lamina/words.h"

namespace lamina {

/// A file below a directory. Several names of one file there are one FileUse.
struct FileUse {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::uint64_t link_count = 0;  ///< names on the whole file system
  std::uint64_t links_here = 0;  ///< names below the directory
  std::uint64_t allocated_bytes = 0;
};

/// A snapshot as `lamina ls` shows it. Its header has been checked; its layers have not been opened
/// (verify() does that). An unknown value is absent, empty or 0.
struct SnapshotListing {
  std::string name;
  std::optional<Error> error;  ///< why it cannot be used as it is; other fields may be unknown then
  std::optional<Uuid> pause_id;
  std::optional<Uuid> parent_pause_id;
  std::vector<Uuid> ancestors;  ///< pause ids, newest first, the parent's first; a limited number
  std::string parent;   ///< the parent's name at the time of the pause. Untrusted text of a file
  std::string created;  ///< RFC 3339, UTC. Untrusted text of a file
  std::uint64_t generation = 0;
  std::size_t layers = 0;
  std::uint64_t memory_bytes = 0;
  std::optional<HeaderFormat> header;
  bool has_vmstate = false;

  /// Allocated bytes of the files that have no name outside this directory: removing it frees them.
  /// Storage that a reflink shares with other files counts as the file's own.
  std::uint64_t own_bytes = 0;
  std::uint64_t shared_bytes = 0;  ///< allocated bytes of files that have other names too
  /// Bytes that the layers store and this snapshot does not use; other snapshots may use them. Only
  /// with ListOptions::dead_bytes.
  std::optional<std::uint64_t> dead_bytes;
  std::vector<FileUse> files;

  std::uint64_t running = 0;         ///< number of running VMs that were resumed from this pause
  std::uint64_t resumes = 0;         ///< how often this pause was resumed
  std::optional<PauseRecord> pause;  ///< absent: as SnapshotInfo::pause
};

/// A pin: it keeps the files that a running VM was resumed from. Its texts come from a file and are
/// untrusted.
struct PinListing {
  std::string name;            ///< "<pid>-<start time>"
  std::optional<Error> error;  ///< why it cannot be read
  std::int64_t pid = 0;
  bool running = false;
  /// Why lamina does not act upon it here: it came with a copy of another store, or another host
  /// wrote it. Empty: it belongs to this store.
  std::string foreign;
  std::string snapshot;  ///< that it was resumed from or last paused to; empty: not known yet
  std::optional<Uuid> base_pause_id;
  std::string since;            ///< RFC 3339, UTC
  bool by_page_faults = false;  ///< its memory comes by userfaultfd
  std::optional<Uuid> map;      ///< pause id of the materialized file that it maps
};

enum class PendingKind : std::uint8_t {
  kPause,   ///< a pause that has begun and is not yet a snapshot; the VMM may have acknowledged it
  kIngest,  ///< a memory file that is being adopted
  kOther,   ///< without a journal yet
};

template <>
inline constexpr std::array kWords<PendingKind> = {
    Word<PendingKind>{"pause", PendingKind::kPause},
    Word<PendingKind>{"ingest", PendingKind::kIngest},
    Word<PendingKind>{"other", PendingKind::kOther}};

/// A memory file on its way into the store.
struct PendingListing {
  Uuid id;  ///< the pause id that the snapshot will have
  PendingKind kind = PendingKind::kOther;
  std::uint64_t allocated_bytes = 0;
  std::string since;    ///< RFC 3339, UTC
  std::string foreign;  ///< as PinListing::foreign
};

/// A materialized memory file that VMs map.
struct MapListing {
  Uuid pause_id;
  std::uint64_t allocated_bytes = 0;
  bool used = false;  ///< a running VM maps it; recover() removes it when none does
};

/// Allocated bytes by purpose. Each file is counted once, in the first of these that it belongs to.
struct StoreTotals {
  std::uint64_t snapshot_bytes = 0;
  std::uint64_t pin_bytes = 0;        ///< kept only for running VMs
  std::uint64_t pending_bytes = 0;    ///< on the way in
  std::uint64_t temporary_bytes = 0;  ///< being built, or left by a killed process
  std::uint64_t map_bytes = 0;        ///< materialized files

  [[nodiscard]] std::uint64_t sum() const {
    return snapshot_bytes + pin_bytes + pending_bytes + temporary_bytes + map_bytes;
  }
};

struct StoreListing {
  std::string path;
  std::vector<SnapshotListing> snapshots;  ///< by name
  std::vector<PinListing> pins;
  std::vector<PendingListing> pending;
  std::vector<MapListing> maps;
  StoreTotals totals;
  std::vector<std::string>
      notes;  ///< directories that are not snapshots, files that cannot be read
};

struct ListOptions {
  bool dead_bytes = false;  ///< reads the end of every layer
};

/// Lists the store at `path`. Only reads: it takes no lock and needs no right to write. Each
/// snapshot is listed in one state that it had. A snapshot that appears or disappears meanwhile may
/// be listed or not. A damaged one is listed with its error.
///
/// kNotFound: `path` does not exist, or is not a store (it has neither snapshots nor lamina's own
/// directories); else kFailed. Thread-safe.
Result<StoreListing> list_store(const std::string& path, const ListOptions& options = {});

/// The paths of the snapshots in a store, sorted, without their headers being read: a faster
/// listing. A snapshot is a directory with a header and a name that a snapshot can have. kNotFound
/// if there is no directory `store`; else kFailed. Thread-safe.
Result<std::vector<std::string>> snapshots_of(const std::string& store);

/// Allocated bytes that are freed if all the snapshots at `indices` of `listing.snapshots` are
/// removed. REQUIRES: each index is valid.
std::uint64_t freed_by_removing(const StoreListing& listing,
                                const std::vector<std::size_t>& indices);

/// One line of a lineage tree.
struct LineageRow {
  std::size_t depth = 0;
  /// Index of the snapshot. Absent: the row stands for a parent that is not in the store.
  std::optional<std::size_t> snapshot;
  /// Pause id of that parent; in the row of a root: of its parent, if that is not in the store.
  std::optional<Uuid> missing;
  std::string missing_name;  ///< its name at the time of the pause. Untrusted text of a file
  bool in_cycle = false;     ///< damaged: it descends from itself, and the tree was cut here
};

/// The snapshots as trees by parent pause id. Each snapshot is in the result exactly once. Each
/// tree is listed from its root down, older siblings first. Snapshots of one pause (forks) are
/// siblings; children are below the fork whose name they have recorded, else below the first. A
/// parent that is not in the store has a row of its own if several snapshots descend from it. O(n
/// log n) for any data. Thread-safe.
std::vector<LineageRow> lineage_of(const std::vector<SnapshotListing>& snapshots);

}  // namespace lamina
