// Memory in the files of E2B, the sandbox platform: import and export.
//
// A directory laid out as E2B's object storage has a directory for each build, with the objects
// memfile, memfile.zstd or memfile.lz4 (what the build's pause stored), memfile.header (which build
// has each block), snapfile and metadata.json. docs/e2b.md describes the bytes.
//
// A build without LAMINA_REMOTE has these functions too; they fail with kUnsupported.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lamina/progress.h"
#include "lamina/result.h"
#include "lamina/uuid.h"
#include "lamina/words.h"

namespace lamina {

/// What is compared with the SHA-256 that headers have for data objects. E2B's own reader compares
/// nothing.
enum class E2bDigests : std::uint8_t {
  kCheck,  ///< every object whose header has one: it is then read whole
  kSkip,   ///< none: of each object only what the memory needs is read
};

template <>
inline constexpr std::array kWords<E2bDigests> = {Word<E2bDigests>{"check", E2bDigests::kCheck},
                                                  Word<E2bDigests>{"skip", E2bDigests::kSkip}};

struct E2bImportOptions {
  /// Path of a directory that is laid out as the object storage, or the URL of an object store:
  /// "s3://BUCKET[/PREFIX][?OPTIONS]", "file:///DIRECTORY" (docs/remote.md).
  std::string directory{};
  Uuid build{};            ///< whose memory to import: DIR/<build> has its objects
  std::string snapshot{};  ///< path of the new snapshot: STORE/NAME
  /// One layer of all builds. Otherwise each build that the memory needs becomes a layer; of these
  /// at most 256 are made.
  bool compact = false;
  E2bDigests digests = E2bDigests::kCheck;
  Progress* progress = nullptr;  ///< may be null
};

/// A block has 4096 bytes.
struct E2bImportReport {
  std::string snapshot;                 ///< path
  Uuid pause_id;                        ///< the build's id
  std::uint32_t header_version = 0;     ///< 1 to 5; 0: the build has no header
  std::uint64_t source_generation = 0;  ///< in the build's header
  std::uint64_t memory_bytes = 0;
  std::uint64_t page_bytes = 0;          ///< of the guest's memory: 4096 or 2 MiB
  std::uint32_t builds = 0;              ///< that the memory needs
  std::uint32_t layers = 0;              ///< that were made
  std::uint64_t stored_blocks = 0;       ///< in all layers
  std::uint64_t zero_blocks = 0;         ///< that E2B stores, and lamina does not
  std::uint64_t read_bytes = 0;          ///< of data objects
  std::uint32_t checked_digests = 0;     ///< data objects that were compared with their SHA-256
  std::uint64_t working_set_blocks = 0;  ///< from the prefetch list of metadata.json
  std::vector<std::string> notes;        ///< one line each
};

/// Makes a snapshot of a build's memory. Blocks get checksums as they are read; those of E2B (of
/// frames, and SHA-256) are verified before. Whatever cannot be read without doubt is refused, also
/// where E2B's reader takes it (docs/e2b.md has the list). The snapshot is published by one rename:
/// a crash leaves all of it or nothing.
///
/// The prefetch list becomes the working set; metadata.json and snapfile are kept as they are. (The
/// VM state in snapfile is of E2B's Firecracker and cannot be loaded by another.)
///
/// From an object store the same is read and checked, and up to 32 MiB of each object are fetched
/// ahead. What fails for a while is repeated; an object is absent only if a list says so too.
///
/// On failure there is no snapshot. kNotFound: the directory, the build, an object that the memory
/// needs, or the store; kCorrupt: a header or an object; kExists: the name is taken; kUsage: not a
/// name for a snapshot, or a malformed URL; kPermission: the object store refuses the credentials;
/// kUnsupported: more than 256 layers, or memory of 0 bytes; kBusy: another writer has the lock of
/// the name; kNoSpace; kInterrupted; else kFailed. Thread-safe.
Result<E2bImportReport> import_e2b(const E2bImportOptions& options);

enum class E2bCodec : std::uint8_t { kZstd, kLz4, kNone };

template <>
inline constexpr std::array kWords<E2bCodec> = {Word<E2bCodec>{"zstd", E2bCodec::kZstd},
                                                Word<E2bCodec>{"lz4", E2bCodec::kLz4},
                                                Word<E2bCodec>{"none", E2bCodec::kNone}};

/// Versions of E2B's header.
enum class E2bHeader : std::uint8_t {
  kV3 = 3,  ///< cannot describe compressed data
  kV4 = 4,
  kV5 = 5,  ///< the smallest; E2B reads it since #2847
};

template <>
inline constexpr std::array kWords<E2bHeader> = {Word<E2bHeader>{"v3", E2bHeader::kV3},
                                                 Word<E2bHeader>{"v4", E2bHeader::kV4},
                                                 Word<E2bHeader>{"v5", E2bHeader::kV5}};

struct E2bExportOptions {
  std::string snapshot{};   ///< path: STORE/NAME
  std::string directory{};  ///< path: DIR; must exist. The builds become DIR/<build id>
  E2bHeader header = E2bHeader::kV4;
  std::optional<E2bCodec> codec{};  ///< default: zstd, with kV3 none
  /// One build with all of the memory. Otherwise each layer becomes a build of its own.
  bool compact = false;
  std::optional<Uuid> build_id{};  ///< with `compact`: of that build; default: random
  Progress* progress = nullptr;    ///< may be null
};

struct E2bExportReport {
  Uuid build_id;  ///< of the build with the header
  std::uint32_t builds = 0;
  std::uint32_t reused_builds = 0;  ///< of them, those whose objects were there already
  std::uint64_t memory_bytes = 0;
  std::uint64_t mappings = 0;      ///< in the header
  std::uint64_t data_bytes = 0;    ///< uncompressed, of all builds
  std::uint64_t object_bytes = 0;  ///< of all data objects
  std::vector<std::string> notes;  ///< one line each
};

/// Writes a snapshot's memory as builds of E2B, with a working set as prefetch list. Every block is
/// checked against its checksum. Each build is made in a directory of another name and renamed when
/// all of them are on the disk, that with the header last: a crash leaves the header's build or
/// not, and never a part of a build. What a crash leaves besides is removed by the next export.
///
/// The data of a layer below DIR/<build id> that has the same bytes already is used; so snapshots
/// of one chain can be exported to one directory.
///
/// kNotFound: the snapshot or the directory; kCorrupt: the snapshot; kExists: DIR has the build, or
/// other data for a layer; kUsage: options that contradict each other; kUnsupported: a layer has no
/// checksums (written by wrenn); kBusy: the snapshot was replaced again and again meanwhile;
/// kNoSpace; kInterrupted; else kFailed. Thread-safe.
Result<E2bExportReport> export_e2b(const E2bExportOptions& options);

}  // namespace lamina
