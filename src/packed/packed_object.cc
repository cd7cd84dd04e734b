#include "packed/packed_object.h"

#include <algorithm>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/error.h"
#include "format/checksum.h"

namespace lamina::packed {
namespace {

constexpr std::size_t kFooterChecksumOffset = kObjectFooterBytes - sizeof(std::uint64_t);
constexpr std::size_t kRunBytes = 2 * sizeof(std::uint32_t);
/// Length, method and digest.
constexpr std::size_t kFrameEntryBytes =
    sizeof(std::uint32_t) + sizeof(std::uint8_t) + sizeof(std::uint64_t);
/// Where a layer's footer (docs/format.md, "Layer") has these fields.
constexpr std::size_t kTrailerBytesOffset = 88;
constexpr std::size_t kChecksumsDigestOffset = 136;
constexpr std::size_t kDataBytesOffset = 80;

std::uint64_t number_at(std::span<const std::byte> bytes, std::size_t offset) {
  return ByteReader(bytes.subspan(offset)).get<std::uint64_t>();
}

Status check_footer(const ObjectFooter& footer, std::uint64_t object_bytes) {
  if (footer.kind != ObjectKind::kLayer && footer.kind != ObjectKind::kFile) {
    return fail(ErrorKind::kCorrupt, "the packed object is of kind {}; this build knows 1 and 2",
                static_cast<std::uint32_t>(footer.kind));
  }
  if (static_cast<std::uint8_t>(footer.seal) > kLastSealAlgorithm) {
    return fail(ErrorKind::kCorrupt,
                "the packed object is sealed by algorithm {}; this build knows 1",
                static_cast<std::uint32_t>(footer.seal));
  }
  if (footer.frame_blocks == 0 || footer.frame_blocks > kMaxFrameBlocks) {
    return fail(ErrorKind::kCorrupt,
                "the packed object has frames of {} blocks; at most {} are "
                "supported",
                footer.frame_blocks, kMaxFrameBlocks);
  }
  if (footer.index_bytes > kMaxIndexBytes) {
    return fail(ErrorKind::kCorrupt,
                "the packed object has an index of {} bytes; at most {} are "
                "supported",
                footer.index_bytes, kMaxIndexBytes);
  }
  const auto body = checked_add(footer.frames_bytes, footer.index_bytes);
  if (!body || checked_add(*body, std::uint64_t{kObjectFooterBytes}) != object_bytes) {
    return fail(ErrorKind::kCorrupt,
                "the packed object describes {} bytes of frames and {} of index; it has {} bytes: "
                "it is truncated, or has other bytes in it",
                footer.frames_bytes, footer.index_bytes, object_bytes);
  }
  return {};
}

void put_frames(ByteWriter& writer, std::span<const FrameEntry> frames) {
  for (const FrameEntry& frame : frames) writer.put(frame.length);
  for (const FrameEntry& frame : frames) writer.put(static_cast<std::uint8_t>(frame.method));
  for (const FrameEntry& frame : frames) writer.put(frame.digest);
}

Result<std::vector<std::byte>> finish_index(ByteWriter& writer,
                                            std::span<const FrameEntry> frames) {
  put_frames(writer, frames);
  // The tag of a seal is added.
  if (writer.size() + kTagBytes <= kMaxIndexBytes) return writer.take();
  return with_remedy(fail(ErrorKind::kUnsupported,
                          "the index of a packed object would have {} bytes; at most {} are "
                          "supported",
                          writer.size(), kMaxIndexBytes),
                     "choose larger frames, or merge the snapshot's layers");
}

/// True if a frame of `blocks` blocks can be stored in `length` bytes.
bool is_possible(const ObjectFooter& footer, std::uint32_t blocks, Method method,
                 std::uint64_t length) {
  const std::uint64_t tag = footer.seal == SealAlgorithm::kNone ? 0 : kTagBytes;
  const std::uint64_t most = plain_frame_bytes(blocks) + tag;
  if (method == Method::kRaw) return length == most;
  return length > blocks * sizeof(std::uint64_t) + tag && length < most;
}

Status read_frames(const ObjectFooter& footer, ByteReader& reader, ObjectIndex& index) {
  const std::uint32_t count = footer.frame_count;
  const auto lengths = reader.get_column<std::uint32_t>(count);
  const auto methods = reader.get_column<std::uint8_t>(count);
  const auto digests = reader.get_column<std::uint64_t>(count);
  const std::uint64_t stored_blocks = index.stored_blocks();
  if (!reader.ok() || reader.remaining() != 0 ||
      frames_for(stored_blocks, footer.frame_blocks) != count) {
    return fail(ErrorKind::kCorrupt, "the packed object has {} frames of {} blocks for {} blocks",
                count, footer.frame_blocks, stored_blocks);
  }
  index.frames.reserve(count);
  std::uint64_t offset = 0;
  std::uint64_t left = stored_blocks;
  for (std::uint32_t i = 0; i < count; ++i) {
    const auto blocks =
        static_cast<std::uint32_t>(std::min<std::uint64_t>(left, footer.frame_blocks));
    const auto method = static_cast<Method>(methods[i]);
    if (methods[i] > kLastMethod || !is_possible(footer, blocks, method, lengths[i])) {
      return fail(ErrorKind::kCorrupt,
                  "frame {} of the packed object has {} blocks in {} bytes by method {}, which is "
                  "not possible",
                  i, blocks, lengths[i], methods[i]);
    }
    index.frames.push_back({offset, lengths[i], method, digests[i]});
    offset += lengths[i];
    left -= blocks;
  }
  if (offset == footer.frames_bytes) return {};
  return fail(ErrorKind::kCorrupt, "the frames of the packed object have {} bytes, not {}", offset,
              footer.frames_bytes);
}

/// Reads lists and footer of a layer's trailer. REQUIRES: bytes.size() >= kFooterBytes.
Status read_trailer(std::span<const std::byte> bytes, ObjectIndex& index) {
  const auto lists = bytes.first(bytes.size() - format::kFooterBytes);
  const auto footer = bytes.subspan(lists.size());
  const auto layer_bytes =
      checked_add(number_at(footer, kDataBytesOffset), number_at(footer, kTrailerBytesOffset));
  LAMINA_ASSIGN_OR_RETURN(index.trailer,
                          format::decode_trailer_lists(lists, footer, layer_bytes.value_or(0)));
  index.layer_bytes = *layer_bytes;
  index.checksums_digest = number_at(footer, kChecksumsDigestOffset);
  index.extents = index.trailer.extents;
  return {};
}

Status read_runs(ByteReader& reader, std::size_t count, ObjectIndex& index) {
  index.file_bytes = reader.get<std::uint64_t>();
  const std::uint64_t blocks = blocks_for(index.file_bytes);
  if (blocks > kMaxBlocks) {
    return fail(ErrorKind::kCorrupt, "the packed file has {} bytes; at most {} are supported",
                index.file_bytes, kMaxBlocks * kBlockBytes);
  }
  std::vector<BlockRun> runs;
  runs.reserve(count);
  std::uint64_t end = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const auto first = reader.get<std::uint32_t>();
    const auto length = reader.get<std::uint32_t>();
    const bool in_order = i == 0 || first > end;
    end = std::uint64_t{first} + length;
    if (length == 0 || !in_order || end > blocks) {
      return fail(ErrorKind::kCorrupt,
                  "run {} of the packed file is [{:#x}, {:#x}): empty, out of order, touching or "
                  "past its end",
                  i, first * kBlockBytes, end * kBlockBytes);
    }
    runs.push_back({first, length});
  }
  index.extents = extents_of(runs);
  return {};
}

}  // namespace

std::vector<std::byte> encode_object_footer(const ObjectFooter& footer) {
  ByteWriter writer(kObjectFooterBytes);
  writer.put_bytes(std::as_bytes(std::span(kObjectMagic)));
  writer.put(kObjectVersion);
  writer.put(static_cast<std::uint32_t>(kObjectFooterBytes));
  writer.put(std::uint32_t{0});
  writer.put(std::uint32_t{0});
  writer.put(footer.object_bytes());
  writer.put(footer.frames_bytes);
  writer.put(footer.index_bytes);
  writer.put(footer.index_digest);
  writer.put(static_cast<std::uint32_t>(footer.kind));
  writer.put(static_cast<std::uint32_t>(footer.seal));
  writer.put(footer.frame_count);
  writer.put(footer.frame_blocks);
  writer.put(footer.name_digest);
  writer.put(footer.key_check);
  writer.put_zeros_until(kFooterChecksumOffset);
  writer.put(format::checksum64(writer.view()));
  return writer.take();
}

Result<ObjectFooter> decode_object_footer(std::span<const std::byte> bytes,
                                          std::uint64_t object_bytes) {
  ByteReader reader(bytes);
  const auto magic = reader.get_bytes(kObjectMagic.size());
  const auto expected_magic = std::as_bytes(std::span(kObjectMagic));
  if (bytes.size() != kObjectFooterBytes ||
      !std::equal(magic.begin(), magic.end(), expected_magic.begin())) {
    return fail(ErrorKind::kCorrupt,
                "no footer of a packed object at its end: not one, or truncated");
  }
  const auto version = reader.get<std::uint32_t>();
  if (version != kObjectVersion) {
    return fail(ErrorKind::kCorrupt,
                "the packed object has version {}; this build reads version {}", version,
                kObjectVersion);
  }
  const auto footer_bytes = reader.get<std::uint32_t>();
  if (footer_bytes != kObjectFooterBytes ||
      number_at(bytes, kFooterChecksumOffset) !=
          format::checksum64(bytes.first(kFooterChecksumOffset))) {
    return fail(ErrorKind::kCorrupt, "the packed object's footer does not match its checksum");
  }
  const auto incompatible_features = reader.get<std::uint32_t>();
  reader.get<std::uint32_t>();  // compatible features: ignored
  if (incompatible_features != 0) {
    return fail(ErrorKind::kCorrupt,
                "the packed object needs features {:#x} that this build does not know",
                incompatible_features);
  }
  const auto stated_bytes = reader.get<std::uint64_t>();
  ObjectFooter footer;
  footer.frames_bytes = reader.get<std::uint64_t>();
  footer.index_bytes = reader.get<std::uint64_t>();
  footer.index_digest = reader.get<std::uint64_t>();
  footer.kind = static_cast<ObjectKind>(reader.get<std::uint32_t>());
  const auto seal = reader.get<std::uint32_t>();
  footer.seal = static_cast<SealAlgorithm>(std::min(seal, std::uint32_t{0xff}));
  footer.frame_count = reader.get<std::uint32_t>();
  footer.frame_blocks = reader.get<std::uint32_t>();
  footer.name_digest = reader.get<std::uint64_t>();
  footer.key_check = reader.get<std::uint64_t>();
  if (stated_bytes != object_bytes) {
    return fail(ErrorKind::kCorrupt, "the packed object has {} bytes, but its footer says {}",
                object_bytes, stated_bytes);
  }
  LAMINA_RETURN_IF_ERROR(check_footer(footer, object_bytes));
  return footer;
}

Result<std::vector<std::byte>> encode_layer_index(std::span<const std::byte> trailer,
                                                  std::span<const FrameEntry> frames) {
  const auto footer_bytes = trailer.last(format::kFooterBytes);
  const auto layer_bytes = number_at(footer_bytes, kDataBytesOffset) + trailer.size();
  LAMINA_ASSIGN_OR_RETURN(const auto footer, format::decode_footer(footer_bytes, layer_bytes));
  if (!footer) return fail(ErrorKind::kCorrupt, "the layer has no trailer");
  ByteWriter writer(footer->lists_bytes + format::kFooterBytes + frames.size() * kFrameEntryBytes);
  writer.put_bytes(trailer.first(footer->lists_bytes));
  writer.put_bytes(footer_bytes);
  return finish_index(writer, frames);
}

Result<std::vector<std::byte>> encode_file_index(std::uint64_t file_bytes,
                                                 std::span<const BlockRun> runs,
                                                 std::span<const FrameEntry> frames) {
  ByteWriter writer(sizeof(file_bytes) + runs.size() * kRunBytes +
                    frames.size() * kFrameEntryBytes);
  writer.put(file_bytes);
  for (const BlockRun& run : runs) {
    writer.put(run.first);
    writer.put(run.count);
  }
  return finish_index(writer, frames);
}

Result<ObjectIndex> decode_object_index(const ObjectFooter& footer,
                                        std::span<const std::byte> bytes) {
  const bool is_layer = footer.kind == ObjectKind::kLayer;
  const std::uint64_t table_bytes = std::uint64_t{footer.frame_count} * kFrameEntryBytes;
  const std::uint64_t least = is_layer ? format::kFooterBytes : sizeof(std::uint64_t);
  if (bytes.size() < least || bytes.size() - least < table_bytes) {
    return fail(ErrorKind::kCorrupt, "the packed object's index has {} bytes for {} frames",
                bytes.size(), footer.frame_count);
  }
  const std::size_t head_bytes = bytes.size() - table_bytes;
  ObjectIndex index;
  ByteReader reader(bytes);
  if (is_layer) {
    LAMINA_RETURN_IF_ERROR(read_trailer(reader.get_bytes(head_bytes), index));
  } else {
    if ((head_bytes - least) % kRunBytes != 0) {
      return fail(ErrorKind::kCorrupt, "the packed object's index has {} bytes for {} frames",
                  bytes.size(), footer.frame_count);
    }
    LAMINA_RETURN_IF_ERROR(read_runs(reader, (head_bytes - least) / kRunBytes, index));
  }
  LAMINA_RETURN_IF_ERROR(read_frames(footer, reader, index));
  return index;
}

std::vector<mapping::StoredExtent> extents_of(std::span<const BlockRun> runs) {
  std::vector<mapping::StoredExtent> extents;
  extents.reserve(runs.size());
  std::uint32_t stored = 0;
  for (const BlockRun& run : runs) {
    extents.push_back({run.first, run.count, run.first, stored});
    stored += run.count;
  }
  return extents;
}

}  // namespace lamina::packed
