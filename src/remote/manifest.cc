#include "remote/manifest.h"

#include <algorithm>
#include <optional>
#include <set>

#include "base/error.h"
#include "base/escape.h"
#include "packed/data_key.h"
#include "remote/encoding.h"

namespace lamina::remote {
namespace {

constexpr std::size_t kMaxFileNameBytes = 255;
constexpr std::size_t kPublicDigestBytes = 32;
constexpr std::string_view kPublicDigestLabel = "lamina manifest";
/// What may follow the files.
constexpr std::uint8_t kPackSection = 1;

std::unexpected<Error> bad_manifest(const RecordPlace& place, std::string_view why) {
  return fail(ErrorKind::kCorrupt, "manifest '{}': {}", record_key(place), why);
}

packed::SealedObject identity_of(const RecordPlace& place) {
  return {kRecordMagic, kRecordVersion, record_key(place), 0};
}

/// The public part as the body of a sealed manifest authenticates it. Lengths of what follows it
/// are not known yet when the body is sealed, and do not matter.
std::array<std::byte, kPublicDigestBytes> public_digest(const Record& record) {
  return packed::sha256(kPublicDigestLabel, encode_public_part(record, {}));
}

void put_contents(ByteWriter& writer, const format::FileDigest& contents) {
  writer.put(contents.size_bytes);
  writer.put_bytes(std::as_bytes(std::span(contents.digest)));
}

format::FileDigest get_contents(ByteReader& reader) {
  format::FileDigest contents;
  contents.size_bytes = reader.get<std::uint64_t>();
  const auto digest = reader.get_bytes(contents.digest.size());
  std::ranges::copy(digest, std::as_writable_bytes(std::span(contents.digest)).begin());
  return contents;
}

void put_file(ByteWriter& writer, const ManifestFile& file) {
  writer.put(static_cast<std::uint8_t>(file.storage));
  put_text(writer, file.name);
  writer.put(file.mode);
  switch (file.storage) {
    case FileStorage::kInline:
      return put_sized_bytes(writer, file.bytes);
    case FileStorage::kLayer:
      return put_stored_object(writer, file.object);
    case FileStorage::kFile:
      put_stored_object(writer, file.object);
      return put_contents(writer, file.contents);
    case FileStorage::kLink:
      return writer.put(file.target);
    case FileStorage::kParts:
      put_contents(writer, file.contents);
      return put_parted_file(writer, file.parted);
  }
}

ManifestFile get_file(ByteReader& reader) {
  ManifestFile file;
  file.storage = static_cast<FileStorage>(reader.get<std::uint8_t>());
  file.name = get_text(reader);
  file.mode = reader.get<std::uint32_t>();
  switch (file.storage) {
    case FileStorage::kInline:
      file.bytes = get_sized_bytes(reader);
      break;
    case FileStorage::kLayer:
      file.object = get_stored_object(reader);
      break;
    case FileStorage::kFile:
      file.object = get_stored_object(reader);
      file.contents = get_contents(reader);
      break;
    case FileStorage::kLink:
      file.target = reader.get<std::uint32_t>();
      break;
    case FileStorage::kParts:
      file.contents = get_contents(reader);
      file.parted = get_parted_file(reader);
      break;
    default:
      reader.get_bytes(reader.remaining() + 1);  // no longer ok()
  }
  return file;
}

std::vector<std::byte> encode_body(const Manifest& manifest, bool is_sealed) {
  ByteWriter body;
  if (is_sealed) body.put_bytes(public_digest(manifest.record));
  body.put(static_cast<std::uint32_t>(manifest.files.size()));
  for (const ManifestFile& file : manifest.files) put_file(body, file);
  if (manifest.pack) {
    body.put(kPackSection);
    put_pack(body, *manifest.pack);
  }
  return body.take();
}

bool is_file_name(const std::string& name) {
  return !name.empty() && name.size() <= kMaxFileNameBytes && name != "." && name != ".." &&
         name.find('/') == std::string::npos && name.find('\0') == std::string::npos;
}

/// Checks the files of a manifest.
class FileCheck {
 public:
  explicit FileCheck(const Manifest& manifest) : manifest_(manifest) {}

  Status run() {
    for (std::size_t i = 0; i < manifest_.files.size(); ++i) {
      const ManifestFile& file = manifest_.files[i];
      if (!is_file_name(file.name)) return bad("it has a file whose name is not one", file);
      if (!names_.insert(file.name).second) return bad("it has two files of a name", file);
      for (const StoredObject* object : file.objects()) {
        LAMINA_RETURN_IF_ERROR(check_object(file, *object));
      }
      if (file.storage == FileStorage::kParts) {
        const std::string_view flaw = flaw_of(file.parted, file.contents.size_bytes);
        if (!flaw.empty()) return bad(flaw, file);
      }
      if (file.storage == FileStorage::kLink) LAMINA_RETURN_IF_ERROR(check_link(file, i));
    }
    return manifest_.pack ? check_pack(*manifest_.pack) : Status();
  }

 private:
  [[nodiscard]] std::unexpected<Error> bad(std::string_view why, const ManifestFile& file) const {
    return bad_manifest(manifest_.record.place,
                        fmt::format("{}: '{}'", why, escaped_value(file.name)));
  }

  [[nodiscard]] Status check_object(const ManifestFile& file, const StoredObject& object) const {
    const auto& references = manifest_.record.references;
    if (object.reference >= references.size()) {
      return bad("the object of a file is not among its references", file);
    }
    const Reference& reference = references[object.reference];
    if (format::checksum64(object.footer) != reference.footer_digest) {
      return bad("the footer of a file is not that of its reference", file);
    }
    const auto footer = packed::decode_object_footer(object.footer, reference.size_bytes);
    if (!footer) return bad(footer.error().message, file);
    const bool is_layer = footer->kind == packed::ObjectKind::kLayer;
    if (is_layer != (file.storage == FileStorage::kLayer)) {
      return bad("the object of a file is of another kind", file);
    }
    if (!object.index.empty() && object.index.size() != footer->index_bytes) {
      return bad("the index of a file has a wrong length", file);
    }
    return {};
  }

  [[nodiscard]] Status check_pack(const WorkingSetPack& pack) const {
    ManifestFile described;
    described.storage = FileStorage::kFile;
    described.name = "working set";
    LAMINA_RETURN_IF_ERROR(check_object(described, pack.object));
    const std::string_view flaw = flaw_of(pack.contents, manifest_.record.memory_bytes);
    return flaw.empty() ? Status() : bad(flaw, described);
  }

  [[nodiscard]] Status check_link(const ManifestFile& file, std::size_t number) const {
    if (file.target >= number) return bad("a link is not to a file before it", file);
    const FileStorage storage = manifest_.files[file.target].storage;
    const bool is_file = storage == FileStorage::kInline || storage == FileStorage::kFile ||
                         storage == FileStorage::kParts;
    return is_file ? Status() : bad("a link is not to a file", file);
  }

  const Manifest& manifest_;
  std::set<std::string> names_;
};

/// Reads the body of a manifest whose public part has been decoded.
class BodyReader {
 public:
  BodyReader(std::span<const std::byte> bytes, const PublicPart& part, packed::KeyWrapper* tenant)
      : place_(part.record.place),
        layout_(part.layout),
        keyring_(bytes.subspan(part.layout.public_bytes, part.layout.keyring_bytes)),
        stored_(bytes.subspan(part.layout.public_bytes + part.layout.keyring_bytes,
                              part.layout.body_bytes)),
        tenant_(tenant) {
    manifest_.record = part.record;
  }

  Result<Manifest> run() {
    LAMINA_RETURN_IF_ERROR(check_key());
    if (is_sealed()) LAMINA_RETURN_IF_ERROR(open());
    LAMINA_RETURN_IF_ERROR(read_files(is_sealed() ? std::span<const std::byte>(plain_) : stored_));
    LAMINA_RETURN_IF_ERROR(FileCheck(manifest_).run());
    return std::move(manifest_);
  }

 private:
  [[nodiscard]] bool is_sealed() const { return layout_.seal != packed::SealAlgorithm::kNone; }

  [[nodiscard]] Status check_key() const {
    if (is_sealed() && tenant_ == nullptr) {
      return with_remedy(fail(ErrorKind::kUsage, "snapshot '{}' is encrypted", place_.name),
                         "set `key_file` or `key_command`");
    }
    if (!is_sealed() && tenant_ != nullptr) {
      return with_remedy(fail(ErrorKind::kUsage,
                              "snapshot '{}' is not encrypted, and a key was given: it may "
                              "have been exchanged",
                              place_.name),
                         "if it is known to be unencrypted, leave out the key");
    }
    return {};
  }

  Status open() {
    auto keys = packed::open_keyring(keyring_, *tenant_);
    if (!keys) {
      return std::unexpected(
          with_context(fmt::format("manifest '{}'", record_key(place_)), keys.error()));
    }
    manifest_.keys = std::move(*keys);
    const auto body_key = manifest_.keys.find(kBodyKeyName);
    if (body_key == manifest_.keys.end()) return bad_manifest(place_, "its keyring lacks its key");
    if (stored_.size() < packed::kTagBytes) return bad_manifest(place_, "it is truncated");
    LAMINA_ASSIGN_OR_RETURN(packed::Sealer sealer,
                            packed::Sealer::create(body_key->second, identity_of(place_)));
    plain_.resize(stored_.size() - packed::kTagBytes);
    LAMINA_ASSIGN_OR_RETURN(const bool opened,
                            sealer.open({packed::PartKind::kIndex}, stored_, plain_));
    if (!opened) return bad_manifest(place_, "its body was altered, or is another manifest's");
    manifest_.keys.erase(body_key);
    return {};
  }

  Status read_files(std::span<const std::byte> body) {
    ByteReader reader(body);
    if (is_sealed()) {
      const auto digest = reader.get_bytes(kPublicDigestBytes);
      if (!std::ranges::equal(digest, public_digest(manifest_.record))) {
        return bad_manifest(place_, "its public part was altered");
      }
    }
    const auto count = reader.get<std::uint32_t>();
    if (count > kMaxManifestFiles) return bad_manifest(place_, "it has too many files");
    for (std::uint32_t i = 0; i < count && reader.ok(); ++i) {
      manifest_.files.push_back(get_file(reader));
    }
    if (reader.ok() && reader.remaining() > 0) {
      const auto section = reader.get<std::uint8_t>();
      if (section != kPackSection) return bad_manifest(place_, "it has an unknown section");
      manifest_.pack = get_pack(reader);
    }
    if (!reader.ok() || reader.remaining() != 0) {
      return bad_manifest(place_, "its lengths are wrong");
    }
    return {};
  }

  const RecordPlace& place_;
  const RecordLayout& layout_;
  std::span<const std::byte> keyring_;
  std::span<const std::byte> stored_;
  packed::KeyWrapper* tenant_;
  std::vector<std::byte> plain_;
  Manifest manifest_;
};

Result<std::vector<std::byte>> encode_sealed(const Manifest& manifest, packed::KeyWrapper& tenant) {
  std::vector<std::byte> body = encode_body(manifest, true);
  LAMINA_ASSIGN_OR_RETURN(const packed::DataKey key, packed::DataKey::random());
  LAMINA_ASSIGN_OR_RETURN(packed::Sealer sealer,
                          packed::Sealer::create(key, identity_of(manifest.record.place)));
  body.resize(body.size() + packed::kTagBytes);
  LAMINA_RETURN_IF_ERROR(sealer.seal({packed::PartKind::kIndex}, body));
  packed::ObjectKeys keys = manifest.keys;
  keys.emplace(kBodyKeyName, key);
  LAMINA_ASSIGN_OR_RETURN(const std::vector<std::byte> keyring,
                          packed::encode_keyring(keys, tenant));
  return encode_record(manifest.record, packed::SealAlgorithm::kAes256Gcm, keyring, body);
}

}  // namespace

std::vector<const StoredObject*> ManifestFile::objects() const {
  std::vector<const StoredObject*> all;
  if (has_object()) all.push_back(&object);
  all.reserve(all.size() + parted.parts.size());
  for (const FilePart& part : parted.parts) all.push_back(&part.object);
  return all;
}

Result<std::vector<std::byte>> encode_manifest(const Manifest& manifest,
                                               packed::KeyWrapper* tenant) {
  std::vector<std::byte> bytes;
  if (tenant != nullptr) {
    LAMINA_ASSIGN_OR_RETURN(bytes, encode_sealed(manifest, *tenant));
  } else {
    bytes = encode_record(manifest.record, packed::SealAlgorithm::kNone, {},
                          encode_body(manifest, false));
  }
  if (bytes.size() <= kMaxRecordBytes && manifest.record.references.size() <= kMaxReferences) {
    return bytes;
  }
  return fail(ErrorKind::kUnsupported,
              "the manifest of '{}' has {} bytes and {} objects; at most {} "
              "and {} are supported",
              manifest.record.place.name, bytes.size(), manifest.record.references.size(),
              kMaxRecordBytes, kMaxReferences);
}

Result<Manifest> decode_manifest(std::span<const std::byte> bytes, const RecordPlace& place,
                                 packed::KeyWrapper* tenant) {
  LAMINA_ASSIGN_OR_RETURN(const PublicPart part, decode_record(bytes, place));
  if (!part.record.is_manifest()) {
    return fail(ErrorKind::kUsage, "record '{}' is not a manifest", record_key(place));
  }
  return BodyReader(bytes, part, tenant).run();
}

Result<packed::PackReader> open_stored(const Manifest& manifest, const StoredObject& object,
                                       std::span<const std::byte> index) {
  const Reference& reference = manifest.reference_of(object);
  packed::ObjectIdentity identity;
  identity.name = reference.key;
  const auto key = manifest.keys.find(reference.key);
  if (key != manifest.keys.end()) identity.key = key->second;
  return packed::PackReader::open(object.footer, object.index.empty() ? index : object.index,
                                  reference.size_bytes, std::move(identity));
}

}  // namespace lamina::remote
