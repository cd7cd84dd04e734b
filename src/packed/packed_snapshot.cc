#include "packed/packed_snapshot.h"

#include <algorithm>
#include <optional>
#include <set>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/error.h"
#include "base/escape.h"
#include "format/checksum.h"
#include "packed/keyring.h"

namespace lamina::packed {
namespace {

constexpr std::size_t kSnapshotChecksumOffset = kSnapshotFooterBytes - sizeof(std::uint64_t);
/// The longest name of a file (NAME_MAX).
constexpr std::size_t kMaxFileNameBytes = 255;
constexpr std::uint32_t kModeMask = 0777;

void put_text(ByteWriter& writer, const std::string& text) {
  writer.put(static_cast<std::uint16_t>(text.size()));
  writer.put_bytes(std::as_bytes(std::span(text)));
}

std::string get_text(ByteReader& reader) {
  const auto bytes = reader.get_bytes(reader.get<std::uint16_t>());
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

bool is_file_name(const std::string& name) {
  return !name.empty() && name.size() <= kMaxFileNameBytes && name != "." && name != ".." &&
         name.find('/') == std::string::npos && name.find('\0') == std::string::npos;
}

SnapshotEntry read_entry(ByteReader& reader) {
  SnapshotEntry entry;
  entry.kind = static_cast<EntryKind>(reader.get<std::uint8_t>());
  entry.mode = reader.get<std::uint32_t>();
  entry.object_bytes = reader.get<std::uint64_t>();
  entry.footer_digest = reader.get<std::uint64_t>();
  entry.target = reader.get<std::uint32_t>();
  entry.name = get_text(reader);
  return entry;
}

/// REQUIRES: `before` are the entries before this one.
Status check_entry(const SnapshotEntry& entry, std::span<const SnapshotEntry> before) {
  const bool is_link = entry.kind == EntryKind::kLink;
  if (!is_link && entry.kind != EntryKind::kLayer && entry.kind != EntryKind::kFile) {
    return fail(ErrorKind::kCorrupt, "entry {} is of kind {}, which this build does not know",
                before.size(), static_cast<std::uint32_t>(entry.kind));
  }
  if (!is_file_name(entry.name)) {
    return fail(ErrorKind::kCorrupt, "entry {} has the name '{}', which cannot be a file's",
                before.size(), escaped_value(entry.name));
  }
  if ((entry.mode & ~kModeMask) != 0) {
    return fail(ErrorKind::kCorrupt, "entry {} has mode {:o}", before.size(), entry.mode);
  }
  const bool is_good_link = entry.target < before.size() &&
                            before[entry.target].kind == EntryKind::kFile &&
                            entry.object_bytes == 0;
  if (is_link ? !is_good_link : entry.target != 0) {
    return fail(ErrorKind::kCorrupt,
                "entry {} is a link to entry {}, which is not a file before it", before.size(),
                entry.target);
  }
  return {};
}

Status check_lengths(const SnapshotFooter& footer, std::uint64_t file_bytes) {
  std::optional<std::uint64_t> sum = footer.objects_bytes;
  for (const std::uint64_t bytes :
       {footer.contents_bytes, footer.keyring_bytes, std::uint64_t{kSnapshotFooterBytes}}) {
    if (sum) sum = checked_add(*sum, bytes);
  }
  if (sum != file_bytes) {
    return fail(ErrorKind::kCorrupt,
                "it describes {} bytes of objects, {} of contents and {} of keyring; it has {} "
                "bytes: it is truncated, or has other bytes in it",
                footer.objects_bytes, footer.contents_bytes, footer.keyring_bytes, file_bytes);
  }
  if (footer.contents_bytes > kMaxContentsBytes || footer.keyring_bytes > kMaxKeyringBytes ||
      footer.entry_count > kMaxSnapshotEntries) {
    return fail(ErrorKind::kCorrupt,
                "it has {} entries in {} bytes and {} bytes of keyring; at most {}, {} and {} are "
                "supported",
                footer.entry_count, footer.contents_bytes, footer.keyring_bytes,
                kMaxSnapshotEntries, kMaxContentsBytes, kMaxKeyringBytes);
  }
  return {};
}

}  // namespace

std::string object_name(std::uint32_t entry_number) { return std::to_string(entry_number); }

Result<std::vector<std::byte>> encode_contents(const SnapshotContents& contents) {
  if (contents.entries.size() > kMaxSnapshotEntries) {
    return fail(ErrorKind::kUnsupported, "the snapshot has {} files; at most {} can be packed",
                contents.entries.size(), kMaxSnapshotEntries);
  }
  for (const SnapshotEntry& entry : contents.entries) {
    if (entry.name.size() <= UINT16_MAX) continue;
    return fail(ErrorKind::kUnsupported, "a name of {} bytes cannot be packed", entry.name.size());
  }
  ByteWriter writer;
  writer.put(contents.pause_id);
  put_text(writer, contents.name);
  writer.put(static_cast<std::uint32_t>(contents.entries.size()));
  for (const SnapshotEntry& entry : contents.entries) {
    writer.put(static_cast<std::uint8_t>(entry.kind));
    writer.put(entry.mode);
    writer.put(entry.object_bytes);
    writer.put(entry.footer_digest);
    writer.put(entry.target);
    put_text(writer, entry.name);
  }
  return writer.take();
}

Result<SnapshotContents> decode_contents(std::span<const std::byte> bytes,
                                         std::uint64_t objects_bytes) {
  ByteReader reader(bytes);
  SnapshotContents contents;
  contents.pause_id = reader.get_uuid();
  contents.name = get_text(reader);
  const auto count = reader.get<std::uint32_t>();
  if (!reader.ok() || count > kMaxSnapshotEntries) {
    return fail(ErrorKind::kCorrupt, "the contents have {} entries; at most {} are supported",
                count, kMaxSnapshotEntries);
  }
  std::set<std::string> names;
  std::uint64_t offset = 0;
  for (std::uint32_t i = 0; i < count; ++i) {
    SnapshotEntry entry = read_entry(reader);
    if (!reader.ok()) return fail(ErrorKind::kCorrupt, "the contents end in entry {}", i);
    LAMINA_RETURN_IF_ERROR(check_entry(entry, contents.entries));
    if (!names.insert(entry.name).second) {
      return fail(ErrorKind::kCorrupt, "the contents have the name '{}' twice",
                  escaped_value(entry.name));
    }
    entry.number = i;
    entry.offset = offset;
    if (entry.object_bytes > objects_bytes - offset) {
      return fail(ErrorKind::kCorrupt, "the object of '{}' has {} bytes; {} are left",
                  escaped_value(entry.name), entry.object_bytes, objects_bytes - offset);
    }
    offset += entry.object_bytes;
    contents.entries.push_back(std::move(entry));
  }
  if (reader.remaining() != 0 || offset != objects_bytes) {
    return fail(ErrorKind::kCorrupt, "the contents name objects of {} bytes; there are {}", offset,
                objects_bytes);
  }
  return contents;
}

std::vector<std::byte> encode_snapshot_footer(const SnapshotFooter& footer) {
  ByteWriter writer(kSnapshotFooterBytes);
  writer.put_bytes(std::as_bytes(std::span(kSnapshotMagic)));
  writer.put(kSnapshotVersion);
  writer.put(static_cast<std::uint32_t>(kSnapshotFooterBytes));
  writer.put(std::uint32_t{0});
  writer.put(std::uint32_t{0});
  writer.put(footer.objects_bytes);
  writer.put(footer.contents_bytes);
  writer.put(footer.contents_digest);
  writer.put(footer.keyring_bytes);
  writer.put(footer.keyring_digest);
  writer.put(footer.entry_count);
  writer.put_zeros_until(kSnapshotChecksumOffset);
  writer.put(format::checksum64(writer.view()));
  return writer.take();
}

Result<SnapshotFooter> decode_snapshot_footer(std::span<const std::byte> bytes,
                                              std::uint64_t file_bytes) {
  ByteReader reader(bytes);
  const auto magic = reader.get_bytes(kSnapshotMagic.size());
  const auto expected_magic = std::as_bytes(std::span(kSnapshotMagic));
  if (bytes.size() != kSnapshotFooterBytes ||
      !std::equal(magic.begin(), magic.end(), expected_magic.begin())) {
    return fail(ErrorKind::kCorrupt,
                "no footer of a packed snapshot at its end: not one, or truncated");
  }
  const auto version = reader.get<std::uint32_t>();
  if (version != kSnapshotVersion) {
    return fail(ErrorKind::kCorrupt, "it has version {}; this build reads version {}", version,
                kSnapshotVersion);
  }
  const auto footer_bytes = reader.get<std::uint32_t>();
  const auto stored = ByteReader(bytes.subspan(kSnapshotChecksumOffset)).get<std::uint64_t>();
  if (footer_bytes != kSnapshotFooterBytes ||
      stored != format::checksum64(bytes.first(kSnapshotChecksumOffset))) {
    return fail(ErrorKind::kCorrupt, "its footer does not match its checksum");
  }
  const auto incompatible_features = reader.get<std::uint32_t>();
  reader.get<std::uint32_t>();  // compatible features: ignored
  if (incompatible_features != 0) {
    return fail(ErrorKind::kCorrupt, "it needs features {:#x} that this build does not know",
                incompatible_features);
  }
  SnapshotFooter footer;
  footer.objects_bytes = reader.get<std::uint64_t>();
  footer.contents_bytes = reader.get<std::uint64_t>();
  footer.contents_digest = reader.get<std::uint64_t>();
  footer.keyring_bytes = reader.get<std::uint64_t>();
  footer.keyring_digest = reader.get<std::uint64_t>();
  footer.entry_count = reader.get<std::uint32_t>();
  LAMINA_RETURN_IF_ERROR(check_lengths(footer, file_bytes));
  return footer;
}

SealedObject contents_identity(std::uint32_t entry_count) {
  return {kSnapshotMagic, kSnapshotVersion, kContentsName, entry_count};
}

}  // namespace lamina::packed
