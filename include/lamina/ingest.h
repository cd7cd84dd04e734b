// Storing a memory file as a snapshot.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lamina/header_format.h"
#include "lamina/huge_pages.h"
#include "lamina/progress.h"
#include "lamina/result.h"
#include "lamina/uuid.h"
#include "lamina/words.h"

namespace lamina {

/// What a hole in the memory file means.
enum class MemoryFileKind : std::uint8_t {
  kAuto,  ///< kDiff if there is a parent, else kFull
  /// The file has all of memory: a hole is zeros. If there is a parent, only the blocks that differ
  /// from it are stored.
  kFull,
  kDiff,  ///< the file has what changed since the parent: a hole is as in the parent
};

template <>
inline constexpr std::array kWords<MemoryFileKind> = {
    Word<MemoryFileKind>{"full", MemoryFileKind::kFull},
    Word<MemoryFileKind>{"diff", MemoryFileKind::kDiff}};

/// Which file keeps the data of the new layer.
enum class Layout : std::uint8_t {
  kAuto,     ///< kAdopted if `consume` is set and adopting is possible, else kCompact
  kCompact,  ///< a new file with the stored blocks back to back; the memory file is only read
  /// The memory file itself, moved into the store: it must be on the store's file system, have one
  /// name, and not be open for writing anywhere. Sets the memory file's owner and mode.
  kAdopted,
};

template <>
inline constexpr std::array kWords<Layout> = {Word<Layout>{"auto", Layout::kAuto},
                                              Word<Layout>{"compact", Layout::kCompact},
                                              Word<Layout>{"adopt", Layout::kAdopted}};

/// What a written block of zeros in a diff means. (A hole always means: as in the parent.)
enum class Zeros : std::uint8_t {
  /// As kWritten. But a diff without any hole, with zeros where the parent has data, is refused:
  /// a copying tool may have filled its holes.
  kUnspecified,
  kWritten,  ///< the guest cleared the block: zeros
  /// As in the parent. That is how wrenn's snapshot package, whose chains lamina reads, wrote its
  /// old diffs; for those only.
  kInherit,
};

template <>
inline constexpr std::array kWords<Zeros> = {Word<Zeros>{"written", Zeros::kWritten},
                                             Word<Zeros>{"inherit", Zeros::kInherit}};

/// Whether blocks that equal the parent's are stored.
enum class Dedup : std::uint8_t {
  kNone,    ///< they are; a full file with a parent is compared all the same
  kParent,  ///< they are not: each block is compared with the parent's byte by byte
};

template <>
inline constexpr std::array kWords<Dedup> = {Word<Dedup>{"none", Dedup::kNone},
                                             Word<Dedup>{"parent", Dedup::kParent}};

/// Exactly one of `memory_file`, `memory_fd` and `memory` gives the memory: 1 byte to just under
/// 16 TiB, usually a whole number of blocks. It must not change until ingest() returns. A diff must
/// be a file with a name: whether its file system keeps holes exactly is tried with a probe file in
/// its directory.
struct IngestOptions {
  std::string memory_file{};  ///< path; empty: not given
  /// A regular file or a memfd, open for reading; the caller keeps and closes it, and its position
  /// does not move. If the file has a name, that is found. Without one (a memfd) it can be neither
  /// adopted nor consumed, and cannot be a diff. -1: not given.
  int memory_fd = -1;
  /// All memory of a guest; with a parent, set `kind` to kFull. It is copied once, so as much
  /// memory must be free, and is not used after ingest() has returned.
  std::span<const std::byte> memory{};
  std::string snapshot{};  ///< path of the new snapshot: STORE/NAME
  /// Path of the snapshot that a diff counts from, or that a full file is compared with. May be the
  /// one that is replaced.
  std::optional<std::string> parent{};
  MemoryFileKind kind = MemoryFileKind::kAuto;
  std::optional<std::string> vmstate_file{};  ///< path; copied into the snapshot as `snapfile`
  std::optional<Uuid> build_id{};             ///< of the new layer, not nil; default: random
  Layout layout = Layout::kAuto;
  /// The memory file is not needed any more: lets kAuto adopt it, and removes it after a compact
  /// ingest, unless it was changed meanwhile (a note says so).
  bool consume = false;
  bool replace = false;  ///< replaces an existing snapshot of that name atomically
  Zeros zeros = Zeros::kUnspecified;
  HugePages huge_pages = HugePages::kAsBefore;  ///< noted in the snapshot, for the resume
  Dedup dedup = Dedup::kNone;
  HeaderFormat header = HeaderFormat::kNative;
  Progress* progress = nullptr;  ///< may be null
};

/// A block has 4096 bytes.
struct IngestReport {
  std::string snapshot;  ///< path
  Uuid build_id;
  Uuid pause_id;
  MemoryFileKind kind = MemoryFileKind::kFull;  ///< kFull or kDiff
  Layout layout = Layout::kCompact;             ///< kCompact or kAdopted
  /// Native header: the number of layers in use, less one. Versions 1 and 3: 0 without a parent,
  /// else one more than the parent's.
  std::uint64_t generation = 0;
  std::uint64_t memory_bytes = 0;
  std::uint64_t stored_blocks = 0;     ///< of data, in the new layer
  std::uint64_t zero_blocks = 0;       ///< set to zero by this file
  std::uint64_t unchanged_blocks = 0;  ///< in the file, but equal to the parent's
  std::uint64_t layer_bytes = 0;       ///< size of the new layer file, trailer and holes included
  std::uint64_t layer_allocated_bytes = 0;  ///< of them, what the file system has allocated
  std::uint64_t cloned_bytes = 0;  ///< of the layer, how much shares storage with the memory file
  std::vector<std::string> notes;  ///< for a person, one line each
};

/// Stores a memory file as a new snapshot: a new layer, links to the parent's layers, and a header.
/// Everything in the new directory is on the disk before one rename publishes it: a crash leaves
/// the whole snapshot, or none (with `replace`: the old one).
///
/// On failure there is no new snapshot, and a memory file that was being adopted is back in its
/// place. There are two exceptions, and the message names each: the snapshot was published and only
/// the last sync failed; the memory file could not be moved back, and the message says where it is.
///
/// kUsage: the options contradict each other, or `snapshot` is not a name for one; kNotFound: an
/// input or the store's directory does not exist; kCorrupt: the parent; kBusy: another writer has
/// the lock of the name, or a process has the memory file open for writing (with Layout::kAdopted
/// or `consume`; as long as that process has it open); kExists: the name is taken and `replace` is
/// not set; kUnsupported: the memory file cannot be adopted; kNoSpace; kInterrupted; kFailed: an
/// input is not a file, the parent has another memory size, the holes of the diff cannot be
/// trusted, or any other failure. Thread-safe.
Result<IngestReport> ingest(const IngestOptions& options);

}  // namespace lamina
