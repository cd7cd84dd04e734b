// The tenants' keys of a bucket (remote.h): which ones it needs, exchange and destruction.
//
// Every object has a key of its own. A manifest has the keys of its objects, wrapped by the
// tenant's key, which is a key file or a key command (pack.h). So the tenant's key can be exchanged
// without any data. docs/security.md says what that protects.
//
// Threads and errors are as in remote.h.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lamina/progress.h"
#include "lamina/result.h"

namespace lamina {

/// A state that a tenant's key wraps the keys of.
struct KeyedState {
  std::string name;
  std::uint64_t number = 0;
  bool is_newest = false;     ///< of its name: what a pull gets
  std::uint32_t objects = 0;  ///< other states may share them
  std::uint64_t stored_bytes = 0;
};

/// A tenant's key, as a bucket knows it.
struct RemoteKeyUse {
  /// "file:" and 16 hexadecimal digits, which depend on the key: of a key file; "command": of all
  /// key commands, whose keys a bucket cannot tell apart; "": of what is not encrypted.
  std::string key_id;
  bool is_given = false;            ///< it is RemoteKeysOptions::key_file
  std::uint64_t newest_states = 0;  ///< of `states`, those that a pull gets
  std::uint64_t objects = 0;        ///< each counted once
  std::uint64_t object_bytes = 0;
  std::vector<KeyedState> states;  ///< by name, then by number
};

struct RemoteKeysOptions {
  std::string url{};
  std::string key_file{};  ///< its key is marked in the report; may be empty
  Progress* progress = nullptr;
};

struct RemoteKeysReport {
  std::vector<RemoteKeyUse> keys;     ///< by id
  std::vector<std::string> problems;  ///< records that cannot be read, one line each
};

/// Lists which tenant's key wraps the keys of which states. No key is needed.
Result<RemoteKeysReport> list_remote_keys(const RemoteKeysOptions& options);

struct RotateKeyOptions {
  std::string url{};
  std::string pattern = "*";      ///< names, as of the shell
  std::string old_key_file{};     ///< exactly one of the two
  std::string old_key_command{};  ///< as PackOptions::key_command
  std::string key_file{};         ///< the new key; exactly one of the two
  std::string key_command{};
  /// Older states stay as they are, wrapped by the old key. They are removed otherwise.
  bool keep_older = false;
  bool dry_run = false;
  Progress* progress = nullptr;
};

struct RotateKeyReport {
  std::string old_key_id;  ///< as RemoteKeyUse::key_id
  std::string key_id;
  std::uint64_t rotated_states = 0;  ///< or to be rotated: the newest of their names
  std::uint64_t rotated_bytes = 0;   ///< of their objects; none is sent
  std::uint64_t removed_states = 0;  ///< older ones with the old key, or to be removed
  std::uint64_t kept_states = 0;     ///< older ones with the old key, by `keep_older`
  std::uint64_t other_names = 0;     ///< whose newest state has another key, or none
  /// Names that still have the old key, and why. One line each.
  std::vector<std::string> problems;

  /// True if the old key is not needed any more for the names of the pattern.
  [[nodiscard]] bool is_complete() const { return problems.empty() && kept_states == 0; }
};

/// Wraps the keys of objects with a new key of the tenant: each newest state that has the old key
/// is published once more, as the same pause with the same objects, and the records with the old
/// key are removed. No data is read or sent. Pushes and pulls may go on meanwhile. A rotation that
/// ends early can be repeated; it goes on with what is left.
///
/// What cannot be rotated is in the report. Whoever has the old key and a copy of an old record can
/// read the objects of that record as long as they exist: docs/security.md. kUsage: a key is
/// missing, or both are the same; kPermission: others may read a key file.
Result<RotateKeyReport> rotate_remote_key(const RotateKeyOptions& options);

struct DestroyKeyOptions {
  std::string url{};
  /// As RemoteKeyUse::key_id; not "". The key itself is not needed.
  std::string key_id{};
  bool dry_run = false;
  Progress* progress = nullptr;
};

struct DestroyKeyReport {
  std::string key_id;
  /// Snapshots that are lost, or would be: their newest state had this key.
  std::vector<std::string> lost_names;
  std::uint64_t removed_states = 0;  ///< or to be removed; older ones too
  std::uint64_t lost_objects = 0;    ///< that only these states have keys of; a prune collects them
  std::uint64_t lost_bytes = 0;
  std::uint64_t pins = 0;  ///< pushes and pulls that may be under way
  std::vector<std::string> notes;
};

/// Removes every record whose keys a tenant's key wraps, so that nobody can read the objects any
/// more, with or without that key. Objects stay until the next prune, unreadable. Cannot be undone.
///
/// kNotFound: no record has this key; kCorrupt: a record cannot be read, so it is not known which
/// key it has, and nothing was removed, or one that has it is damaged behind its keyring, and
/// others may be removed; kBusy: pushes with this key go on; kUsage: not a key id.
Result<DestroyKeyReport> destroy_remote_key(const DestroyKeyOptions& options);

}  // namespace lamina
