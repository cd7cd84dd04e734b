// Records: the objects v1/snapshots/<name>.<number>, which say what the states of a name are. The
// bytes are described in docs/format.md.
//
//   record := public-part keyring body checksum
//
// The public part is what everybody must be able to read: a collector without the tenant's key, a
// list of a thousand snapshots. It has a checksum of its own, so that it can be read alone. Keyring
// and body are a manifest's (manifest.h); other records have none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "lamina/result.h"
#include "lamina/uuid.h"
#include "packed/seal.h"
#include "remote/names.h"

namespace lamina::remote {

inline constexpr std::string_view kRecordMagic = "LAMINARR";
inline constexpr std::uint32_t kRecordVersion = 1;
/// A record is not larger.
inline constexpr std::uint64_t kMaxRecordBytes = std::uint64_t{16} << 20;
inline constexpr std::uint32_t kMaxReferences = 1U << 17;
inline constexpr std::uint64_t kMaxPublicBytes = kMaxRecordBytes;
/// Enough of a record to know how long its public part is.
inline constexpr std::size_t kRecordPrefixBytes = 24;

enum class RecordKind : std::uint32_t {
  kManifest = 1,  ///< a state
  kVoid = 2,      ///< made by a collector, so that a push that is late cannot use the number
  kRemoval = 3,   ///< the name has no state any more
};

/// An object that a manifest needs.
struct Reference {
  std::string key;
  std::uint64_t size_bytes = 0;
  std::uint64_t footer_digest = 0;  ///< packed::PackedObject::footer_digest: the very object

  bool operator==(const Reference&) const = default;
};

/// The public part.
struct Record {
  RecordKind kind = RecordKind::kManifest;
  Uuid bucket_id;  ///< of the bucket that it was made for (bucket.h)
  Uuid nonce;      ///< of the writer: by it he recognises his record after a lost answer
  RecordPlace place;
  std::int64_t created_s = 0;  ///< by the writer's clock, seconds since the epoch
  // Of a manifest.
  std::uint64_t base_number = 0;  ///< the state that this one descends from; 0: none
  Uuid pause_id;
  Uuid parent_pause_id;  ///< nil: none, or unknown
  Uuid build_id;         ///< of the youngest layer
  std::uint64_t memory_bytes = 0;
  std::vector<Reference> references;

  [[nodiscard]] bool is_state() const { return kind != RecordKind::kVoid; }
  [[nodiscard]] bool is_manifest() const { return kind == RecordKind::kManifest; }
  [[nodiscard]] std::uint64_t referenced_bytes() const;
  bool operator==(const Record&) const = default;
};

/// Where the parts of a record are.
struct RecordLayout {
  std::uint64_t public_bytes = 0;  ///< its checksum included
  std::uint32_t keyring_bytes = 0;
  std::uint64_t body_bytes = 0;  ///< as stored
  packed::SealAlgorithm seal = packed::SealAlgorithm::kNone;

  [[nodiscard]] std::uint64_t record_bytes() const {
    return public_bytes + keyring_bytes + body_bytes + sizeof(std::uint64_t);
  }
  bool operator==(const RecordLayout&) const = default;
};

struct PublicPart {
  Record record;
  RecordLayout layout;
};

/// The public part alone. REQUIRES: check_name(record.place.name).
std::vector<std::byte> encode_public_part(const Record& record, const RecordLayout& layout);

/// The whole record. `layout.public_bytes` is computed.
std::vector<std::byte> encode_record(const Record& record, packed::SealAlgorithm seal,
                                     std::span<const std::byte> keyring,
                                     std::span<const std::byte> body);

/// The length of the public part of a record whose first kRecordPrefixBytes these are. kCorrupt:
/// not a record of a known version.
Result<std::uint64_t> public_bytes_of(std::span<const std::byte> prefix);

/// Decodes the public part, with which `bytes` begin. kCorrupt: damaged, truncated, of an unknown
/// version, or of another place than `place`.
Result<PublicPart> decode_public_part(std::span<const std::byte> bytes, const RecordPlace& place);

/// Decodes a whole record, keyring and body excepted, and checks its length and checksum. kCorrupt.
Result<PublicPart> decode_record(std::span<const std::byte> bytes, const RecordPlace& place);

}  // namespace lamina::remote
