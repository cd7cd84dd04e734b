// The format of a packed snapshot: one file with all that a snapshot's directory has. The bytes are
// described in docs/format.md.
//
//   file := objects contents keyring footer
//
// The objects are packed layers and packed files, one behind the other. The contents name them, and
// say which names are further links to the same file. They may be sealed, as the index of an object
// is. The keyring is there if the snapshot is encrypted. The footer has a fixed size.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/run.h"
#include "lamina/result.h"
#include "lamina/uuid.h"
#include "packed/seal.h"

namespace lamina::packed {

inline constexpr std::string_view kSnapshotMagic = "LAMINAPS";
inline constexpr std::uint32_t kSnapshotVersion = 1;
inline constexpr std::size_t kSnapshotFooterBytes = 128;
inline constexpr std::uint32_t kMaxSnapshotEntries = 1U << 17;
inline constexpr std::uint64_t kMaxContentsBytes = std::uint64_t{64} << 20;
/// The name of the contents, for their seal and in the keyring. No file can have it.
inline constexpr const char* kContentsName = "/contents";

enum class EntryKind : std::uint8_t {
  kLayer = 1,
  kFile = 2,
  kLink = 3,  ///< another name of a file before it
};

/// A file of the snapshot.
struct SnapshotEntry {
  EntryKind kind = EntryKind::kFile;
  std::string name;
  std::uint32_t mode = 0;           ///< permission bits; of a file
  std::uint64_t object_bytes = 0;   ///< size of the object; 0 for a link
  std::uint64_t footer_digest = 0;  ///< PackedObject::footer_digest
  std::uint32_t target = 0;         ///< of a link: number of the entry of the file

  // These follow from the entries before.
  std::uint32_t number = 0;  ///< of the entry
  std::uint64_t offset = 0;  ///< of the object

  bool operator==(const SnapshotEntry&) const = default;
};

struct SnapshotContents {
  Uuid pause_id;
  std::string name;  ///< of the snapshot when it was packed, for people
  std::vector<SnapshotEntry> entries;

  bool operator==(const SnapshotContents&) const = default;
};

/// The name that an entry's object is sealed under. It is a number, because the keyring shows it,
/// and the names of the files are nobody's business.
std::string object_name(std::uint32_t entry_number);

/// Encodes. kUnsupported: too many entries, or too long a name. Numbers and offsets are not stored.
Result<std::vector<std::byte>> encode_contents(const SnapshotContents& contents);

/// Decodes contents whose objects have `objects_bytes` in all. kCorrupt: damaged, a name that leads
/// out of a directory or is there twice, a link to what is not a file before it, or objects of
/// another total size.
Result<SnapshotContents> decode_contents(std::span<const std::byte> bytes,
                                         std::uint64_t objects_bytes);

/// The footer.
struct SnapshotFooter {
  std::uint64_t objects_bytes = 0;
  std::uint64_t contents_bytes = 0;   ///< as stored, with the tag if sealed
  std::uint64_t contents_digest = 0;  ///< XXH3-64 of the stored contents
  std::uint64_t keyring_bytes = 0;    ///< 0: not encrypted
  std::uint64_t keyring_digest = 0;   ///< XXH3-64
  std::uint32_t entry_count = 0;

  [[nodiscard]] bool is_sealed() const { return keyring_bytes != 0; }
  [[nodiscard]] ByteRange contents_range() const { return {objects_bytes, contents_bytes}; }
  [[nodiscard]] ByteRange keyring_range() const {
    return {objects_bytes + contents_bytes, keyring_bytes};
  }
  bool operator==(const SnapshotFooter&) const = default;
};

std::vector<std::byte> encode_snapshot_footer(const SnapshotFooter& footer);

/// Decodes the last kSnapshotFooterBytes of a file of `file_bytes`. kCorrupt as for the footer of
/// an object.
Result<SnapshotFooter> decode_snapshot_footer(std::span<const std::byte> bytes,
                                              std::uint64_t file_bytes);

/// What the contents are sealed as.
SealedObject contents_identity(std::uint32_t entry_count);

}  // namespace lamina::packed
