#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lamina/header_format.h"
#include "lamina/huge_pages.h"
#include "lamina/progress.h"
#include "lamina/result.h"
#include "lamina/uuid.h"
#include "lamina/words.h"

namespace lamina {

/// What a memory file says about the blocks that it does not have.
enum class MemoryFileKind : std::uint8_t {
  kAuto,  ///< diff when there is a parent, else full
  kFull,  ///< all of memory: a hole is zeros
  kDiff,  ///< what changed since the parent: a hole is "as in the parent"
};

template <>
inline constexpr std::array kWords<MemoryFileKind> = {
    Word<MemoryFileKind>{"full", MemoryFileKind::kFull},
    Word<MemoryFileKind>{"diff", MemoryFileKind::kDiff}};

/// Where the data of the new layer is kept.
enum class Layout : std::uint8_t {
  kAuto,     ///< adopt when `consume` is set and it is possible, else compact
  kCompact,  ///< a file of its own with the stored blocks back to back; the memory file stays
  kAdopted,  ///< the memory file itself, moved into the store
};

template <>
inline constexpr std::array kWords<Layout> = {Word<Layout>{"auto", Layout::kAuto},
                                              Word<Layout>{"compact", Layout::kCompact},
                                              Word<Layout>{"adopt", Layout::kAdopted}};

/// What zeros that are written in a diff mean.
enum class Zeros : std::uint8_t {
  kUnspecified,  ///< as kWritten, but a diff without any hole that has zeros over data is refused
  kWritten,      ///< the guest cleared the block: zeros
  kInherit,      ///< not changed: the reading of the original program, for its old files only
};

template <>
inline constexpr std::array kWords<Zeros> = {Word<Zeros>{"written", Zeros::kWritten},
                                             Word<Zeros>{"inherit", Zeros::kInherit}};

enum class Dedup : std::uint8_t {
  kNone,
  kParent,  ///< compare with the parent byte by byte and store only what differs
};

template <>
inline constexpr std::array kWords<Dedup> = {Word<Dedup>{"none", Dedup::kNone},
                                             Word<Dedup>{"parent", Dedup::kParent}};

struct IngestOptions {
  std::string memory_file;
  std::string snapshot;               ///< directory to make: STORE/NAME
  std::optional<std::string> parent;  ///< snapshot that a diff belongs to
  MemoryFileKind kind = MemoryFileKind::kAuto;
  std::optional<std::string> vmstate_file;  ///< copied into the snapshot as `snapfile`
  std::optional<Uuid> build_id;             ///< of the new layer; random when not given
  Layout layout = Layout::kAuto;
  bool consume = false;  ///< lets kAuto adopt, and removes the memory file after a compact ingest
  bool replace = false;  ///< replace an existing snapshot of that name, atomically
  Zeros zeros = Zeros::kUnspecified;
  HugePages huge_pages = HugePages::kAsBefore;  ///< kAsBefore: as the parent's, else not known
  Dedup dedup = Dedup::kNone;                   ///< a full file with a parent is always compared
  HeaderFormat header = HeaderFormat::kNative;
  Progress* progress = nullptr;  ///< may be null
};

struct IngestReport {
  std::string snapshot;
  Uuid build_id;
  Uuid pause_id;
  MemoryFileKind kind = MemoryFileKind::kFull;  ///< kFull or kDiff
  Layout layout = Layout::kCompact;             ///< kCompact or kAdopted
  std::uint64_t generation = 0;
  std::uint64_t memory_bytes = 0;
  std::uint64_t stored_blocks = 0;     ///< data in the new layer
  std::uint64_t zero_blocks = 0;       ///< set to zero by this file
  std::uint64_t unchanged_blocks = 0;  ///< in the file, but equal to the parent's
  std::uint64_t layer_bytes = 0;       ///< size of the new layer file, trailer and holes included
  std::uint64_t layer_allocated_bytes = 0;  ///< of them, what the file system has allocated
  std::uint64_t cloned_bytes = 0;  ///< of the layer, how much shares storage with the memory file
  std::vector<std::string> notes;  ///< things worth telling a person, one line each
};

/// Stores a memory file as a new snapshot: a layer over the parent's layers, which are linked into
/// the new directory, and a header. The snapshot appears whole, by a rename, after everything in it
/// is on the disk; on failure nothing is left (unless the message says that it was published and
/// only its last sync failed), and a memory file that was to be adopted is back in its place (when
/// it could not be put back, the message says where it is). Takes the lock of the snapshot's name:
/// kBusy when another writer has it. Thread-safe.
Result<IngestReport> ingest(const IngestOptions& options);

}  // namespace lamina
