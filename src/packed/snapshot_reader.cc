#include "packed/snapshot_reader.h"

#include <array>
#include <optional>

#include "base/error.h"
#include "base/escape.h"
#include "format/checksum.h"

namespace lamina::packed {
namespace {

/// Reads a range whose digest is known.
Result<std::vector<std::byte>> read_part(const Source& source, const ByteRange& range,
                                         std::uint64_t digest, std::string_view what) {
  std::vector<std::byte> bytes(range.length);
  LAMINA_RETURN_IF_ERROR(source(range.offset, bytes));
  if (format::checksum64(bytes) == digest) return bytes;
  return fail(ErrorKind::kCorrupt, "its {} does not match its digest", what);
}

}  // namespace

Result<PackedSnapshot> PackedSnapshot::open(const Source& source, std::uint64_t file_bytes,
                                            KeyWrapper* tenant) {
  if (file_bytes < kSnapshotFooterBytes) {
    return fail(ErrorKind::kCorrupt, "it has {} bytes, fewer than its footer of {}", file_bytes,
                kSnapshotFooterBytes);
  }
  std::array<std::byte, kSnapshotFooterBytes> bytes{};
  LAMINA_RETURN_IF_ERROR(source(file_bytes - bytes.size(), bytes));
  LAMINA_ASSIGN_OR_RETURN(const SnapshotFooter footer, decode_snapshot_footer(bytes, file_bytes));
  PackedSnapshot snapshot;
  LAMINA_RETURN_IF_ERROR(snapshot.read_keys(source, footer, tenant));
  LAMINA_RETURN_IF_ERROR(snapshot.read_contents(source, footer));
  return snapshot;
}

Status PackedSnapshot::read_keys(const Source& source, const SnapshotFooter& footer,
                                 KeyWrapper* tenant) {
  if (!footer.is_sealed()) {
    if (tenant == nullptr) return {};
    return with_remedy(fail(ErrorKind::kUsage,
                            "it is not encrypted, though a key was given: it may not be what was "
                            "packed"),
                       "to unpack it all the same, give no key");
  }
  LAMINA_ASSIGN_OR_RETURN(
      const std::vector<std::byte> bytes,
      read_part(source, footer.keyring_range(), footer.keyring_digest, "keyring"));
  if (tenant == nullptr) {
    LAMINA_ASSIGN_OR_RETURN(const KeyringFacts facts, keyring_facts(bytes));
    const bool by_command = facts.algorithm == WrapAlgorithm::kCommand;
    return with_remedy(
        fail(ErrorKind::kUsage, "it is encrypted for {}",
             by_command ? std::string("a key command") : "the key " + escaped_value(facts.key_id)),
        "set `{}`", by_command ? "key_command" : "key_file");
  }
  LAMINA_ASSIGN_OR_RETURN(keys_, open_keyring(bytes, *tenant));
  return {};
}

Status PackedSnapshot::read_contents(const Source& source, const SnapshotFooter& footer) {
  LAMINA_ASSIGN_OR_RETURN(
      std::vector<std::byte> bytes,
      read_part(source, footer.contents_range(), footer.contents_digest, "contents"));
  if (footer.is_sealed()) {
    const auto key = keys_.find(kContentsName);
    if (key == keys_.end() || bytes.size() < kTagBytes) {
      return fail(ErrorKind::kCorrupt, "its keyring has no key for its contents");
    }
    LAMINA_ASSIGN_OR_RETURN(Sealer sealer,
                            Sealer::create(key->second, contents_identity(footer.entry_count)));
    std::vector<std::byte> plain(bytes.size() - kTagBytes);
    LAMINA_ASSIGN_OR_RETURN(const bool opened,
                            sealer.open({PartKind::kIndex, 0, 0, 0}, bytes, plain));
    if (!opened) {
      return fail(ErrorKind::kCorrupt,
                  "its contents cannot be decrypted: they were altered, or are another snapshot's");
    }
    bytes = std::move(plain);
  }
  LAMINA_ASSIGN_OR_RETURN(contents_, decode_contents(bytes, footer.objects_bytes));
  if (contents_.entries.size() == footer.entry_count) return {};
  return fail(ErrorKind::kCorrupt, "it has {} entries, but its footer says {}",
              contents_.entries.size(), footer.entry_count);
}

Result<PackReader> PackedSnapshot::open_entry(const Source& source,
                                              const SnapshotEntry& entry) const {
  ObjectIdentity identity{object_name(entry.number), std::nullopt, entry.name};
  if (is_sealed()) {
    const auto key = keys_.find(identity.name);
    if (key == keys_.end()) {
      return fail(ErrorKind::kCorrupt, "its keyring has no key for '{}'",
                  escaped_value(entry.name));
    }
    identity.key = key->second;
  }
  LAMINA_ASSIGN_OR_RETURN(PackReader reader, open_object(object_source(source, entry),
                                                         entry.object_bytes, std::move(identity)));
  const auto kind = entry.kind == EntryKind::kLayer ? ObjectKind::kLayer : ObjectKind::kFile;
  if (reader.kind() != kind || reader.footer_digest() != entry.footer_digest) {
    return fail(ErrorKind::kCorrupt,
                "the object of '{}' is not the one that was packed under that "
                "name",
                escaped_value(entry.name));
  }
  return reader;
}

Source object_source(const Source& source, const SnapshotEntry& entry) {
  return [&source, offset = entry.offset](std::uint64_t at, std::span<std::byte> into) {
    return source(offset + at, into);
  };
}

}  // namespace lamina::packed
