// One file of a snapshot, compressed and perhaps encrypted: for export, import and backup.
//
// A build without LAMINA_REMOTE has these functions too; they fail with kUnsupported.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "lamina/progress.h"
#include "lamina/result.h"
#include "lamina/uuid.h"
#include "lamina/words.h"

namespace lamina {

/// How the blocks are compressed. A frame for which it does not pay is stored as it is.
enum class PackCodec : std::uint8_t {
  kZstd,  ///< level 1: smaller
  kLz4,   ///< faster
  kNone,
};

template <>
inline constexpr std::array kWords<PackCodec> = {Word<PackCodec>{"zstd", PackCodec::kZstd},
                                                 Word<PackCodec>{"lz4", PackCodec::kLz4},
                                                 Word<PackCodec>{"none", PackCodec::kNone}};

struct PackOptions {
  std::string snapshot{};  ///< path: STORE/NAME
  std::string out{};       ///< path of the file; must not exist
  PackCodec codec = PackCodec::kZstd;
  std::uint32_t frame_blocks = 16;  ///< blocks that are compressed together, 1 to 64
  /// Encrypts the snapshot with the first key in this file, which only its owner may read: 32
  /// bytes, or lines of 64 hexadecimal digits. Empty, as `key_command`: not encrypted.
  std::string key_file{};
  /// Encrypts it with a key that this command, for sh(1), wraps and unwraps: LAMINA_KEY_OPERATION
  /// in its environment is "wrap" (it reads a key of 32 bytes from its standard input, and prints
  /// the wrapped key, at most 4096 bytes) or "unwrap" (the reverse). It runs once for a packed
  /// snapshot, for at most a minute. At most one of the two is set.
  std::string key_command{};
  Progress* progress = nullptr;  ///< may be null
};

struct PackReport {
  Uuid pause_id;
  std::uint64_t memory_bytes = 0;
  std::uint32_t layers = 0;
  std::uint32_t files = 0;         ///< the others: header, facts, VM state, attached files
  std::uint64_t data_bytes = 0;    ///< what the layers and files store
  std::uint64_t packed_bytes = 0;  ///< size of the file
  bool is_encrypted = false;
  std::vector<std::string> notes;  ///< one line each
};

/// Packs a snapshot into one file: header, layers, VM state, working set and attached files, with
/// their names, modes, holes and hard links. Every block of a layer is checked against its
/// checksum, and the VM state against its digest. The file gets its name when it is complete and on
/// the disk. Nothing in the snapshot is changed.
///
/// On failure there is no file, unless only the last sync of the directory failed. kNotFound: the
/// snapshot, the directory of `out`, or the key file; kCorrupt: the snapshot; kExists: `out`
/// exists; kUsage: an option; kPermission: others may read the key file; kUnsupported: a layer has
/// no checksums (written by wrenn); kBusy: the snapshot was replaced again and again meanwhile;
/// kNoSpace; kInterrupted; else kFailed, also if the key command fails. Thread-safe.
Result<PackReport> pack_snapshot(const PackOptions& options);

struct UnpackOptions {
  std::string file{};            ///< a packed snapshot
  std::string snapshot{};        ///< path of the new snapshot: STORE/NAME
  std::string key_file{};        ///< if the file is encrypted: as PackOptions
  std::string key_command{};     ///< the same
  Progress* progress = nullptr;  ///< may be null
};

struct UnpackReport {
  std::string snapshot;  ///< path
  Uuid pause_id;         ///< the same as when it was packed: it is the same guest state
  std::uint64_t generation = 0;
  std::uint64_t memory_bytes = 0;
  std::uint32_t layers = 0;
  std::uint32_t files = 0;
  std::uint64_t data_bytes = 0;    ///< what the layers and files store
  std::uint64_t packed_bytes = 0;  ///< size of the file
  std::vector<std::string> notes;  ///< one line each
};

/// Makes a snapshot of a packed one, with the same pause id and the same layers (build ids,
/// checksums, extents). Every block is checked before it is written, and the whole is checked as
/// for opening a snapshot. It is published by one rename: a crash leaves all of it or nothing.
///
/// On failure there is no snapshot. kNotFound: the file, the store, or the key file; kCorrupt: the
/// file is damaged, truncated, or not a packed snapshot; kExists: the name is taken; kUsage: not a
/// name for a snapshot, or the file is encrypted and no key was given, or the reverse; kPermission:
/// it is encrypted for another key, or others may read the key file; kBusy: another writer has the
/// lock of the name; kNoSpace; kInterrupted; else kFailed. Thread-safe.
Result<UnpackReport> unpack_snapshot(const UnpackOptions& options);

}  // namespace lamina
