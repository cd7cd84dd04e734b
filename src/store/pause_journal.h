// What must be known of a pause if the process that does it dies: <store>/.pending/<pause id>.json.
//
// It is on the disk before the VMM is asked for the memory. From then on the dirty bits of the VM
// may be gone, so the outcome decides: `asked` without an answer, or with an error, means that the
// files are discarded and the VM's next memory file is a full one. `acknowledged` means that the
// file is part of the chain for ever.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "lamina/ingest.h"
#include "lamina/lifecycle.h"
#include "lamina/result.h"
#include "lamina/uuid.h"
#include "store/jail_directory.h"
#include "store/snapshot_facts.h"
#include "store/store.h"
#include "store/store_identity.h"

namespace lamina::store {

struct PauseJournal {
  StoreIdentity belongs_to;  ///< put there by PendingPause::write_journal()
  Uuid pause_id;
  Uuid build_id;
  std::string name;      ///< snapshot to publish as
  bool replace = false;  ///< also a snapshot that the VM does not descend from
  MemoryFileKind kind = MemoryFileKind::kFull;  ///< kFull or kDiff
  /// Compare a diff with its base and keep only what differs.
  bool compare = false;
  std::optional<Uuid> parent_pause_id;  ///< of the VM's base
  std::string parent;                   ///< its name, for people
  std::string vm;                       ///< name of the VM's pin
  std::string api_socket;
  /// The directory, as we see it, that the VMM writes to when it cannot reach the store; empty:
  /// the pending directory itself.
  JailDirectory jail_directory;
  AfterPause after = AfterPause::kStop;
  bool was_running = false;
  std::string created;  ///< RFC 3339, UTC
  Origin origin;

  bool acknowledged = false;
  std::uint64_t memory_bytes = 0;  ///< of the memory file when it was acknowledged
  /// A hook or attached files belong to the state, and are not there (yet).
  bool lacks_files = false;

  bool operator==(const PauseJournal&) const = default;
};

/// Nothing when the bytes are no pause's journal of this version.
std::optional<PauseJournal> decode_pause_journal(std::span<const std::byte> bytes);
std::string encode_pause_journal(const PauseJournal& journal);

/// The journal of a pause, read without its lock: it may change or go at any time. Nothing when
/// there is none, or it is an adoption's. kCorrupt when it may be a pause's and cannot be read.
Result<std::optional<PauseJournal>> read_pause_journal(const Store& store, const Uuid& id);

}  // namespace lamina::store
