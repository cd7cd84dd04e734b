// The journal of a pause, <store>/.pending/<pause id>.json: all that is needed to end the pause if
// its process dies.
//
// It is on the disk before the VMM is asked to write the memory. From then on the VM's dirty bits
// may be cleared. If the VMM has not acknowledged the memory file, its files are discarded, and the
// VM's next memory file is a full one. If it has (`acknowledged`), the file belongs to the VM's
// chain and is never discarded.
//
// If the VMM writes to a freeze directory on tmpfs, its answer is recorded there, and the journal
// says `acknowledged` only once the complete snapshot is on the disk: a power failure before that
// takes the VM, the files and the answer, and leaves a journal of a pause that never was.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lamina/ingest.h"
#include "lamina/lifecycle.h"
#include "lamina/result.h"
#include "lamina/uuid.h"
#include "store/freeze_directory.h"
#include "store/jail_directory.h"
#include "store/snapshot_facts.h"
#include "store/store.h"
#include "store/store_identity.h"

namespace lamina::store {

struct PauseJournal {
  StoreIdentity belongs_to;  ///< set by PendingPause::write_journal()
  Uuid pause_id;
  Uuid build_id;
  std::string name;      ///< of the snapshot
  bool replace = false;  ///< replaces also a snapshot that the VM does not descend from
  MemoryFileKind kind = MemoryFileKind::kFull;  ///< kFull or kDiff
  std::string reason;  ///< why of this kind; empty in journals of earlier versions
  /// Compare the diff with its base, and store only what differs.
  bool compare = false;
  std::optional<Uuid> parent_pause_id;  ///< of the VM's base
  /// Of the VM's last pause, if that is not its base (a VM whose changes always count from its
  /// base): the new snapshot may replace that one, too.
  std::optional<Uuid> last_pause_id;
  std::vector<Uuid> ancestors;  ///< of the new state, the VM's base first
  std::string parent;           ///< its name, for a person
  std::string vm;               ///< name of the VM's pin
  std::string api_socket;
  /// The directory that the VMM writes to if it cannot reach the store. Empty: the pending
  /// directory.
  JailDirectory jail_directory;
  /// The directory on tmpfs that the VMM writes to. Its path is empty if there is none.
  FreezeDirectory freeze_directory;
  AfterPause after = AfterPause::kStop;
  bool was_running = false;
  std::string created;  ///< RFC 3339, UTC
  Origin origin;
  bool once = false;  ///< SnapshotFacts::once

  bool acknowledged = false;
  std::uint64_t memory_bytes = 0;  ///< of the memory file when it was acknowledged
  /// The state has attached files, or a hook, and they are not complete yet.
  bool lacks_files = false;

  bool operator==(const PauseJournal&) const = default;
};

/// Empty if the bytes are not a pause's journal of this version.
std::optional<PauseJournal> decode_pause_journal(std::span<const std::byte> bytes);
std::string encode_pause_journal(const PauseJournal& journal);

/// Reads the journal of a pause without its lock: it may change or disappear at any time. Empty if
/// there is none, or it is an adoption's. kCorrupt: it may be a pause's, and cannot be read.
Result<std::optional<PauseJournal>> read_pause_journal(const Store& store, const Uuid& id);

}  // namespace lamina::store
