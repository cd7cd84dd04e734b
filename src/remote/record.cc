#include "remote/record.h"

#include <algorithm>

#include "base/error.h"
#include "remote/encoding.h"

namespace lamina::remote {
namespace {

/// The shortest reference: an empty key.
constexpr std::size_t kLeastReferenceBytes = 2 + 8 + 8;

std::unexpected<Error> bad_record(const RecordPlace& place, std::string_view why) {
  return fail(ErrorKind::kCorrupt, "record '{}': {}", record_key(place), why);
}

void put_references(ByteWriter& writer, std::span<const Reference> references) {
  writer.put(static_cast<std::uint32_t>(references.size()));
  for (const Reference& reference : references) {
    put_text(writer, reference.key);
    writer.put(reference.size_bytes);
    writer.put(reference.footer_digest);
  }
}

/// Empty, and the reader not ok(), if there are not as many as the count says.
std::vector<Reference> get_references(ByteReader& reader) {
  const auto count = reader.get<std::uint32_t>();
  std::vector<Reference> references;
  if (count > kMaxReferences || count > reader.remaining() / kLeastReferenceBytes) {
    reader.get_bytes(reader.remaining() + 1);
    return references;
  }
  references.reserve(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    Reference reference;
    reference.key = get_text(reader);
    reference.size_bytes = reader.get<std::uint64_t>();
    reference.footer_digest = reader.get<std::uint64_t>();
    references.push_back(std::move(reference));
  }
  return references;
}

Status check_contents(const PublicPart& part, const RecordPlace& place) {
  const Record& record = part.record;
  const RecordLayout& layout = part.layout;
  const bool is_sealed = layout.seal != packed::SealAlgorithm::kNone;
  if (is_sealed != (layout.keyring_bytes > 0)) {
    return bad_record(place, "it has a seal without a keyring, or a keyring without a seal");
  }
  if (!record.is_manifest() && (!record.references.empty() || layout.body_bytes > 0 || is_sealed)) {
    return bad_record(place, "it is not a manifest, and has the parts of one");
  }
  for (const Reference& reference : record.references) {
    if (!parse_object_key(reference.key)) {
      return bad_record(place, "it references a key that is not an object's");
    }
  }
  return {};
}

Result<PublicPart> decode_fields(ByteReader& reader, const RecordPlace& place) {
  PublicPart part;
  Record& record = part.record;
  const auto kind = reader.get<std::uint32_t>();
  const auto seal = reader.get<std::uint32_t>();
  part.layout.keyring_bytes = reader.get<std::uint32_t>();
  part.layout.body_bytes = reader.get<std::uint64_t>();
  record.bucket_id = reader.get_uuid();
  record.nonce = reader.get_uuid();
  record.place.number = reader.get<std::uint64_t>();
  record.place.name = get_text(reader);
  record.created_s = static_cast<std::int64_t>(reader.get<std::uint64_t>());
  record.base_number = reader.get<std::uint64_t>();
  record.pause_id = reader.get_uuid();
  record.parent_pause_id = reader.get_uuid();
  record.build_id = reader.get_uuid();
  record.memory_bytes = reader.get<std::uint64_t>();
  record.references = get_references(reader);
  if (!reader.ok() || reader.remaining() != 0) return bad_record(place, "its lengths are wrong");
  if (kind < 1 || kind > 3) return bad_record(place, fmt::format("it is of unknown kind {}", kind));
  if (seal > packed::kLastSealAlgorithm) {
    return bad_record(place, fmt::format("it is sealed by unknown algorithm {}", seal));
  }
  if (part.layout.body_bytes > kMaxRecordBytes) return bad_record(place, "it is too large");
  record.kind = static_cast<RecordKind>(kind);
  part.layout.seal = static_cast<packed::SealAlgorithm>(seal);
  return part;
}

}  // namespace

std::uint64_t Record::referenced_bytes() const {
  std::uint64_t bytes = 0;
  for (const Reference& reference : references) bytes += reference.size_bytes;
  return bytes;
}

std::vector<std::byte> encode_public_part(const Record& record, const RecordLayout& layout) {
  ByteWriter fields;
  fields.put(static_cast<std::uint32_t>(record.kind));
  fields.put(static_cast<std::uint32_t>(layout.seal));
  fields.put(layout.keyring_bytes);
  fields.put(layout.body_bytes);
  fields.put(record.bucket_id);
  fields.put(record.nonce);
  fields.put(record.place.number);
  put_text(fields, record.place.name);
  fields.put(static_cast<std::uint64_t>(record.created_s));
  fields.put(record.base_number);
  fields.put(record.pause_id);
  fields.put(record.parent_pause_id);
  fields.put(record.build_id);
  fields.put(record.memory_bytes);
  put_references(fields, record.references);
  ByteWriter writer(kRecordPrefixBytes + fields.size() + kChecksumBytes);
  writer.put_bytes(std::as_bytes(std::span(kRecordMagic)));
  writer.put(kRecordVersion);
  writer.put(std::uint32_t{0});
  writer.put(std::uint64_t{kRecordPrefixBytes + fields.size() + kChecksumBytes});
  writer.put_bytes(fields.view());
  put_checksum(writer);
  return writer.take();
}

std::vector<std::byte> encode_record(const Record& record, packed::SealAlgorithm seal,
                                     std::span<const std::byte> keyring,
                                     std::span<const std::byte> body) {
  RecordLayout layout;
  layout.seal = seal;
  layout.keyring_bytes = static_cast<std::uint32_t>(keyring.size());
  layout.body_bytes = body.size();
  ByteWriter writer;
  writer.put_bytes(encode_public_part(record, layout));
  writer.put_bytes(keyring);
  writer.put_bytes(body);
  put_checksum(writer);
  return writer.take();
}

Result<std::uint64_t> public_bytes_of(std::span<const std::byte> prefix) {
  ByteReader reader(prefix);
  if (to_text(reader.get_bytes(kRecordMagic.size())) != kRecordMagic) {
    return fail(ErrorKind::kCorrupt, "it is not a record");
  }
  const auto version = reader.get<std::uint32_t>();
  if (version != kRecordVersion) {
    return fail(ErrorKind::kCorrupt, "it has version {}; this build reads version {}", version,
                kRecordVersion);
  }
  const auto reserved = reader.get<std::uint32_t>();
  const auto bytes = reader.get<std::uint64_t>();
  if (!reader.ok() || reserved != 0 || bytes < kRecordPrefixBytes + kChecksumBytes ||
      bytes > kMaxPublicBytes) {
    return fail(ErrorKind::kCorrupt, "its public part has a wrong length");
  }
  return bytes;
}

Result<PublicPart> decode_public_part(std::span<const std::byte> bytes, const RecordPlace& place) {
  const auto length = public_bytes_of(bytes.first(std::min(bytes.size(), kRecordPrefixBytes)));
  if (!length) return bad_record(place, length.error().message);
  if (*length > bytes.size()) return bad_record(place, "it is truncated");
  bytes = bytes.first(*length);
  if (!has_checksum(bytes)) return bad_record(place, "its public part is damaged");
  ByteReader reader(bytes.first(bytes.size() - kChecksumBytes).subspan(kRecordPrefixBytes));
  LAMINA_ASSIGN_OR_RETURN(PublicPart part, decode_fields(reader, place));
  part.layout.public_bytes = *length;
  if (part.record.place != place) {
    return bad_record(place, "it was made for another name or number");
  }
  LAMINA_RETURN_IF_ERROR(check_contents(part, place));
  return part;
}

Result<PublicPart> decode_record(std::span<const std::byte> bytes, const RecordPlace& place) {
  LAMINA_ASSIGN_OR_RETURN(PublicPart part, decode_public_part(bytes, place));
  if (part.layout.record_bytes() != bytes.size()) {
    return bad_record(
        place, fmt::format("it has {} bytes of {}", bytes.size(), part.layout.record_bytes()));
  }
  if (!has_checksum(bytes)) return bad_record(place, "it is damaged");
  return part;
}

}  // namespace lamina::remote
