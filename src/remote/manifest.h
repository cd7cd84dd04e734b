// Manifests: records with all that a resume must know, in one object. The bytes are described in
// docs/format.md.
//
// A manifest lists the files of the snapshot's directory. Small ones are in it; for others it has
// the footer and the index of the packed object, so that its frames can be fetched at once. If it
// is encrypted, its keyring has the keys of the objects and of the manifest's own body.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "format/header.h"
#include "lamina/result.h"
#include "packed/keyring.h"
#include "packed/pack_reader.h"
#include "remote/file_parts.h"
#include "remote/pack_contents.h"
#include "remote/record.h"

namespace lamina::remote {

inline constexpr std::uint32_t kMaxManifestFiles = 1U << 17;
/// Larger files of a snapshot are objects of their own.
inline constexpr std::uint64_t kMaxInlineBytes = std::uint64_t{64} << 10;
/// The name of a manifest's body in its keyring. No object can have it.
inline constexpr const char* kBodyKeyName = "/manifest";

enum class FileStorage : std::uint8_t {
  kInline = 1,  ///< in the manifest
  kFile = 2,    ///< a packed file
  kLayer = 3,   ///< a packed layer
  kLink = 4,    ///< another name of a file before it
  kParts = 5,   ///< an attached file, in parts (file_parts.h)
};

struct ManifestFile {
  FileStorage storage = FileStorage::kInline;
  std::string name;
  std::uint32_t mode = 0;        ///< permission bits
  std::vector<std::byte> bytes;  ///< kInline
  StoredObject object;           ///< kFile, kLayer
  PartedFile parted;             ///< kParts
  /// kFile: size, and the digest of its data (local_files.h). kParts: size, and the digest of its
  /// data (packed::FileDigester).
  format::FileDigest contents;
  std::uint32_t target = 0;  ///< kLink: number of the file

  [[nodiscard]] bool has_object() const {
    return storage == FileStorage::kFile || storage == FileStorage::kLayer;
  }
  /// All objects that have parts of it.
  [[nodiscard]] std::vector<const StoredObject*> objects() const;
  bool operator==(const ManifestFile&) const = default;
};

struct Manifest {
  Record record;
  std::vector<ManifestFile> files;
  std::optional<WorkingSetPack> pack{};  ///< the blocks of the working set, once more
  packed::ObjectKeys keys;  ///< of a sealed one, by the objects' keys; without the body's

  [[nodiscard]] const Reference& reference_of(const StoredObject& object) const {
    return record.references[object.reference];
  }
  /// The object of a file. REQUIRES: file.has_object().
  [[nodiscard]] const Reference& reference_of(const ManifestFile& file) const {
    return reference_of(file.object);
  }
};

/// Encodes; with a `tenant`, sealed. kUnsupported: too large. Else the errors of the tenant's key.
Result<std::vector<std::byte>> encode_manifest(const Manifest& manifest,
                                               packed::KeyWrapper* tenant);

/// Decodes the record of `place`, and checks that no name leads out of a directory or is there
/// twice and that the footers are those of the references. `tenant` may be null. kCorrupt; kUsage:
/// it is sealed and there is no key, or there is one and it is not sealed (it may have been
/// exchanged), or it is not a manifest; kPermission: it is for another key.
Result<Manifest> decode_manifest(std::span<const std::byte> bytes, const RecordPlace& place,
                                 packed::KeyWrapper* tenant);

/// The reader of an object whose index is in the manifest, or `index` if it is not.
Result<packed::PackReader> open_stored(const Manifest& manifest, const StoredObject& object,
                                       std::span<const std::byte> index);
inline Result<packed::PackReader> open_stored(const Manifest& manifest, const ManifestFile& file,
                                              std::span<const std::byte> index) {
  return open_stored(manifest, file.object, index);
}

}  // namespace lamina::remote
