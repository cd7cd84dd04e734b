// What a store holds: its snapshots with their sizes and lineage, the VMs that were resumed from
// them, and what is on its way in.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lamina/header_format.h"
#include "lamina/result.h"
#include "lamina/uuid.h"
#include "lamina/words.h"

namespace lamina {

/// A file below a directory. Several names of it there are one FileUse.
struct FileUse {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::uint64_t link_count = 0;  ///< names on the whole file system
  std::uint64_t links_here = 0;  ///< names below the directory
  std::uint64_t allocated_bytes = 0;
};

/// A snapshot as `lamina ls` shows it. The header has been validated by itself; layers have not
/// been opened (`lamina verify` does). What is not known is nothing, empty or 0.
struct SnapshotListing {
  std::string name;
  std::optional<Error> error;  ///< why it cannot be used as it is; all else may be missing then
  std::optional<Uuid> pause_id;
  std::optional<Uuid> parent_pause_id;
  std::string parent;   ///< the parent's name at the time. From a file: any text
  std::string created;  ///< RFC 3339, UTC. From a file: any text
  std::uint64_t generation = 0;
  std::size_t layers = 0;
  std::uint64_t memory_bytes = 0;
  std::optional<HeaderFormat> header;
  bool has_vmstate = false;

  /// Allocated bytes of files of which every name is in this directory: what removing it frees.
  /// Storage that a reflink shares with other files counts as the file's own.
  std::uint64_t own_bytes = 0;
  std::uint64_t shared_bytes = 0;  ///< allocated bytes of files that have other names too
  /// Blocks that the layers store and that this snapshot does not use (others may); only where
  /// asked for.
  std::optional<std::uint64_t> dead_bytes;
  std::vector<FileUse> files;

  std::uint64_t running = 0;  ///< VMs that run and were resumed from this pause
  std::uint64_t resumes = 0;  ///< how often this pause was resumed
};

/// What a VM was resumed from. Its text is from a file: any text.
struct PinListing {
  std::string name;  ///< "<pid>-<start time>"
  std::optional<Error> error;
  std::int64_t pid = 0;
  bool running = false;
  /// Why nobody acts upon it here: it came with a copy of another store, or is another host's.
  /// Empty: it is this store's.
  std::string foreign;
  std::string snapshot;  ///< name that it was resumed from or last paused to
  std::optional<Uuid> base_pause_id;
  std::string since;            ///< RFC 3339, UTC
  bool by_page_faults = false;  ///< its memory comes by userfaultfd
  std::optional<Uuid> map;      ///< pause id of the materialized file that it maps
};

enum class PendingKind : std::uint8_t {
  kPause,   ///< acknowledged by the VMM, not yet a snapshot
  kIngest,  ///< a memory file that is being adopted
  kOther,   ///< without a journal: it has just begun
};

template <>
inline constexpr std::array kWords<PendingKind> = {
    Word<PendingKind>{"pause", PendingKind::kPause},
    Word<PendingKind>{"ingest", PendingKind::kIngest},
    Word<PendingKind>{"other", PendingKind::kOther}};

/// Something in the pending area: a memory state on its way in.
struct PendingListing {
  Uuid id;  ///< a pause id, or of an ingest
  PendingKind kind = PendingKind::kOther;
  std::uint64_t allocated_bytes = 0;
  std::string since;    ///< RFC 3339, UTC
  std::string foreign;  ///< as of a pin
};

/// A materialized memory file that VMs map.
struct MapListing {
  Uuid pause_id;
  std::uint64_t allocated_bytes = 0;
  bool used = false;  ///< by a VM that runs
};

/// Allocated bytes of files, each file counted once, where it is met first in this order.
struct StoreTotals {
  std::uint64_t snapshot_bytes = 0;
  std::uint64_t pin_bytes = 0;  ///< only kept because VMs run
  std::uint64_t pending_bytes = 0;
  std::uint64_t temporary_bytes = 0;
  std::uint64_t map_bytes = 0;

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
  std::vector<std::string> notes;  ///< what is no snapshot, what could not be read
};

struct ListOptions {
  bool dead_bytes = false;  ///< reads the end of every layer
};

/// Lists the store at `path`. Only reads, needs no right to write, takes no lock. Each snapshot is
/// listed in one state that it had; one that appears or goes meanwhile may or may not be listed. A
/// damaged one is listed with its error. kNotFound when `path` does not exist, or is no store: has
/// neither snapshots nor lamina's own directories.
Result<StoreListing> list_store(const std::string& path, const ListOptions& options = {});

/// Allocated bytes that removing the snapshots at `indices` of the listing together would free.
std::uint64_t freed_by_removing(const StoreListing& listing,
                                const std::vector<std::size_t>& indices);

/// One line of a lineage tree.
struct LineageRow {
  std::size_t depth = 0;
  std::optional<std::size_t> snapshot;  ///< index; nothing: a parent that is not in the store
  std::optional<Uuid> missing;          ///< its pause id, or that of this root's parent
  std::string missing_name;             ///< its name at the time. From a file: any text
  bool in_cycle = false;  ///< damaged: it descends from itself, and the tree was cut here
};

/// The snapshots as trees by parent pause ids, each exactly once, every tree from its root down,
/// older siblings first. Snapshots of one pause (forks) are siblings; children are shown below the
/// one whose name they remember, else the first. A parent that is not in the store has a row of its
/// own when several snapshots descend from it. O(n log n), whatever the data.
std::vector<LineageRow> lineage_of(const std::vector<SnapshotListing>& snapshots);

}  // namespace lamina
