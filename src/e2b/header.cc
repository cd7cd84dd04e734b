#include "e2b/header.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <set>
#include <unordered_map>

#include "base/block.h"
#include "base/bytes.h"
#include "base/error.h"
#include "e2b/compression.h"

namespace lamina::e2b {
namespace {

constexpr std::size_t kMetadataBytes = 64;
constexpr std::size_t kRecordBytes = 40;
constexpr std::size_t kFrameBytes = 24;
/// An entry without frames: id, size, digest, type, number of frames.
constexpr std::size_t kEntryBytes = 64;
constexpr std::uint64_t kVersionMask = 0xffff;
constexpr std::uint64_t kFirstPackedVersion = 4;
constexpr std::uint64_t kLastVersion = 5;
constexpr std::uint64_t kMaxSigned = std::numeric_limits<std::int64_t>::max();
constexpr std::uint64_t kMaxFrameSize = std::numeric_limits<std::int32_t>::max();
/// The flag of a header whose data is not in the storage yet.
constexpr std::uint8_t kIncompleteFlag = 1;
/// Each mapping of version 5 has four numbers of at least a byte.
constexpr std::size_t kLeastColumnBytes = 4;
constexpr unsigned kVarintBits = 7;
constexpr unsigned kNumberBits = 64;

struct UuidHash {
  std::size_t operator()(const Uuid& id) const {
    std::size_t hash = 0;
    for (const std::uint8_t byte : id.bytes) hash = hash * 131 + byte;
    return hash;
  }
};

/// Collects mappings in order, and checks that they cover the memory.
class MappingCollector {
 public:
  MappingCollector(Header& header, std::uint64_t block_count)
      : header_(header), block_count_(block_count) {}

  Status add(std::uint64_t offset, std::uint64_t length, const Uuid& id, std::uint64_t storage) {
    const std::size_t number = header_.mappings.size();
    if (offset % kBlockBytes != 0 || length % kBlockBytes != 0 ||
        (!id.is_nil() && storage % kBlockBytes != 0)) {
      return fail(ErrorKind::kCorrupt,
                  "mapping {} ({:#x} bytes at {:#x}, storage {:#x}) is not in blocks of 4096",
                  number, length, offset, storage);
    }
    return add_blocks(offset / kBlockBytes, length / kBlockBytes, id, storage / kBlockBytes);
  }

  Status add_blocks(std::uint64_t first, std::uint64_t count, const Uuid& id,
                    std::uint64_t storage) {
    const std::size_t number = header_.mappings.size();
    if (count == 0) {
      return fail(ErrorKind::kCorrupt, "mapping {} at {:#x} is empty", number, first * kBlockBytes);
    }
    if (first != end_) {
      return fail(ErrorKind::kCorrupt,
                  "mapping {} begins at block {}, the one before it ends at {}", number, first,
                  end_);
    }
    if (count > block_count_ - end_) {
      return fail(ErrorKind::kCorrupt, "mapping {} ends behind the memory of {} blocks", number,
                  block_count_);
    }
    if (!id.is_nil() && (storage > kMaxBlocks || count > kMaxBlocks - storage)) {
      return fail(ErrorKind::kCorrupt, "mapping {} is at storage block {}, which no object has",
                  number, storage);
    }
    end_ += count;
    BuildMapping mapping;
    mapping.guest_block = static_cast<std::uint32_t>(first);
    mapping.block_count = static_cast<std::uint32_t>(count);
    if (!id.is_nil()) {
      LAMINA_ASSIGN_OR_RETURN(mapping.build, number_of(id));
      mapping.storage_block = static_cast<std::uint32_t>(storage);
    }
    header_.mappings.push_back(mapping);
    return {};
  }

  /// Zeros up to `block`.
  Status fill_gap(std::uint64_t block) {
    if (block <= end_) return {};
    return add_blocks(end_, block - end_, Uuid{}, 0);
  }

  [[nodiscard]] Status finish() const {
    if (end_ == block_count_) return {};
    return fail(ErrorKind::kCorrupt, "the mappings end at block {}, the memory at {}", end_,
                block_count_);
  }

 private:
  Result<std::uint32_t> number_of(const Uuid& id) {
    if (last_ && header_.builds[*last_] == id) return *last_;
    const auto [place, is_new] =
        numbers_.try_emplace(id, static_cast<std::uint32_t>(header_.builds.size()));
    if (is_new) {
      if (header_.builds.size() == kMaxBuilds) {
        return fail(ErrorKind::kCorrupt, "the mappings refer to more than {} builds", kMaxBuilds);
      }
      header_.builds.push_back(id);
    }
    last_ = place->second;
    return place->second;
  }

  Header& header_;
  std::uint64_t block_count_;
  std::uint64_t end_ = 0;
  std::unordered_map<Uuid, std::uint32_t, UuidHash> numbers_;
  std::optional<std::uint32_t> last_;
};

/// An unsigned variable-length number of Go's encoding/binary. Absent: the bytes end, or it has
/// more than 64 bits.
std::optional<std::uint64_t> get_varint(ByteReader& reader) {
  std::uint64_t value = 0;
  for (unsigned shift = 0; shift < kNumberBits; shift += kVarintBits) {
    const auto byte = reader.get<std::uint8_t>();
    if (!reader.ok()) return std::nullopt;
    const std::uint64_t bits = byte & 0x7fU;
    if (shift + kVarintBits > kNumberBits && bits > 1) return std::nullopt;
    value |= bits << shift;
    if (byte < 0x80U) return value;
  }
  return std::nullopt;
}

void put_varint(ByteWriter& writer, std::uint64_t value) {
  while (value >= 0x80U) {
    writer.put(static_cast<std::uint8_t>(value | 0x80U));
    value >>= kVarintBits;
  }
  writer.put(static_cast<std::uint8_t>(value));
}

std::uint64_t to_zigzag(std::int64_t value) {
  return (static_cast<std::uint64_t>(value) << 1U) ^ static_cast<std::uint64_t>(value >> 63);
}

std::int64_t from_zigzag(std::uint64_t value) {
  return static_cast<std::int64_t>((value >> 1U) ^ (~(value & 1U) + 1));
}

Status add_records(ByteReader& reader, std::size_t count, Header& header,
                   MappingCollector& collector) {
  header.mappings.reserve(std::max<std::size_t>(count, 1));
  for (std::size_t i = 0; i < count; ++i) {
    const auto offset = reader.get<std::uint64_t>();
    const auto length = reader.get<std::uint64_t>();
    const Uuid id = reader.get_uuid();
    const auto storage = reader.get<std::uint64_t>();
    LAMINA_RETURN_IF_ERROR(collector.add(offset, length, id, storage));
  }
  if (count == 0 && header.memory_bytes != 0) {
    // E2B writes no mapping if the whole memory is the build's own.
    return collector.add_blocks(0, blocks_for(header.memory_bytes), header.build_id, 0);
  }
  return {};
}

Status check_record_count(std::size_t count, std::size_t remaining) {
  if (count <= kMaxMappings && count <= remaining / kRecordBytes) return {};
  return fail(ErrorKind::kCorrupt, "it has {} mappings, in {} bytes", count, remaining);
}

/// Adds the frame if it follows the last one in the data and in the object.
Status add_frame(ByteReader& reader, const Uuid& id, BuildEntry& entry) {
  Frame frame;
  frame.data_offset = reader.get<std::uint64_t>();
  frame.object_offset = reader.get<std::uint64_t>();
  frame.data_bytes = reader.get<std::uint32_t>();
  frame.object_bytes = reader.get<std::uint32_t>();
  const std::size_t number = entry.frames.size();
  if (frame.data_bytes == 0 || frame.data_bytes > kMaxFrameSize || frame.object_bytes == 0 ||
      frame.object_bytes > kMaxFrameSize) {
    return fail(ErrorKind::kCorrupt, "frame {} of build {} has {} bytes of {}", number,
                id.to_string(), static_cast<std::int32_t>(frame.object_bytes),
                static_cast<std::int32_t>(frame.data_bytes));
  }
  const std::uint64_t data_end = number == 0 ? 0 : entry.frames.back().data_end();
  const std::uint64_t object_end = number == 0 ? 0 : entry.frames.back().object_end();
  if (frame.data_offset > kMaxSigned - kMaxFrameSize ||
      frame.object_offset > kMaxSigned - kMaxFrameSize || frame.data_offset < data_end ||
      frame.object_offset < object_end) {
    return fail(ErrorKind::kCorrupt,
                "frame {} of build {} is at {:#x} (of the data {:#x}): out of order, or over the "
                "frame before it",
                number, id.to_string(), frame.object_offset, frame.data_offset);
  }
  if (entry.data_bytes != 0 && frame.data_end() > entry.data_bytes) {
    return fail(ErrorKind::kCorrupt, "frame {} of build {} ends at {:#x}, behind its {:#x} bytes",
                number, id.to_string(), frame.data_end(), entry.data_bytes);
  }
  entry.frames.push_back(frame);
  return {};
}

Status add_entry(ByteReader& reader, Header& header) {
  const Uuid id = reader.get_uuid();
  BuildEntry entry;
  entry.data_bytes = reader.get<std::uint64_t>();
  const auto digest = reader.get_bytes(entry.sha256.size());
  const auto type = reader.get<std::uint32_t>();
  const auto frames = reader.get<std::uint32_t>();
  if (!reader.ok()) return fail(ErrorKind::kCorrupt, "its list of builds is cut off");
  std::transform(digest.begin(), digest.end(), entry.sha256.begin(),
                 [](std::byte byte) { return std::to_integer<std::uint8_t>(byte); });
  if (entry.data_bytes > kMaxSigned) {
    return fail(ErrorKind::kCorrupt, "build {} has {} bytes", id.to_string(),
                static_cast<std::int64_t>(entry.data_bytes));
  }
  if (type > static_cast<std::uint32_t>(Compression::kLz4)) {
    return fail(ErrorKind::kCorrupt, "build {} has compression {}; 0 to 2 are known",
                id.to_string(), type);
  }
  entry.compression = static_cast<Compression>(type);
  if ((type == 0) != (frames == 0)) {
    return fail(ErrorKind::kCorrupt, "build {} has compression {} and {} frames", id.to_string(),
                type, frames);
  }
  if (frames > kMaxFrames || frames > reader.remaining() / kFrameBytes) {
    return fail(ErrorKind::kCorrupt, "build {} has {} frames, in {} bytes", id.to_string(), frames,
                reader.remaining());
  }
  entry.frames.reserve(frames);
  for (std::uint32_t i = 0; i < frames; ++i) {
    LAMINA_RETURN_IF_ERROR(add_frame(reader, id, entry));
  }
  if (!header.entries.try_emplace(id, std::move(entry)).second) {
    return fail(ErrorKind::kCorrupt, "it has two entries of build {}", id.to_string());
  }
  return {};
}

Status add_entries(ByteReader& reader, Header& header) {
  const auto count = reader.get<std::uint32_t>();
  if (!reader.ok() || count > reader.remaining() / kEntryBytes) {
    return fail(ErrorKind::kCorrupt, "it lists {} builds, in {} bytes", count, reader.remaining());
  }
  for (std::uint32_t i = 0; i < count; ++i) LAMINA_RETURN_IF_ERROR(add_entry(reader, header));
  return {};
}

/// The mapping section of version 5: a table of builds, and four columns of numbers.
class ColumnReader {
 public:
  ColumnReader(ByteReader& reader, Header& header, MappingCollector& collector)
      : reader_(reader), header_(header), collector_(collector) {}

  Status run(std::uint64_t block_count) {
    LAMINA_RETURN_IF_ERROR(read_table());
    const auto count = reader_.get<std::uint32_t>();
    if (!reader_.ok() || count > kMaxMappings || count > reader_.remaining() / kLeastColumnBytes) {
      return fail(ErrorKind::kCorrupt, "it has {} mappings, in {} bytes", count,
                  reader_.remaining());
    }
    mappings_.resize(count);
    LAMINA_RETURN_IF_ERROR(read_offsets());
    LAMINA_RETURN_IF_ERROR(read_column(
        "length", [](BuildMapping& mapping, std::uint32_t value) { mapping.block_count = value; }));
    LAMINA_RETURN_IF_ERROR(read_storage());
    LAMINA_RETURN_IF_ERROR(read_column(
        "build", [](BuildMapping& mapping, std::uint32_t value) { mapping.build = value; }));
    header_.mappings.reserve(mappings_.size() + 1);
    for (const BuildMapping& mapping : mappings_) {
      if (mapping.build >= ids_.size()) {
        return fail(ErrorKind::kCorrupt, "a mapping is of build {}, and there are {}",
                    mapping.build, ids_.size());
      }
      LAMINA_RETURN_IF_ERROR(collector_.fill_gap(mapping.guest_block));
      LAMINA_RETURN_IF_ERROR(collector_.add_blocks(mapping.guest_block, mapping.block_count,
                                                   ids_[mapping.build], mapping.storage_block));
    }
    return collector_.fill_gap(block_count);
  }

 private:
  Status read_table() {
    const auto count = reader_.get<std::uint32_t>();
    if (!reader_.ok() || count > kMaxBuilds || count > reader_.remaining() / sizeof(Uuid)) {
      return fail(ErrorKind::kCorrupt, "its mapping has {} builds, in {} bytes", count,
                  reader_.remaining());
    }
    std::set<Uuid> seen;
    ids_.reserve(count);
    for (std::uint32_t i = 0; i < count; ++i) {
      const Uuid id = reader_.get_uuid();
      if (id.is_nil() || !seen.insert(id).second) {
        return fail(ErrorKind::kCorrupt, "build {} is in the table of builds {}", id.to_string(),
                    id.is_nil() ? "and means zeros" : "twice");
      }
      ids_.push_back(id);
    }
    return {};
  }

  Result<std::uint64_t> next(const char* column, std::size_t number) {
    if (const auto value = get_varint(reader_)) return *value;
    return fail(ErrorKind::kCorrupt, "the {} of mapping {} is cut off or has more than 64 bits",
                column, number);
  }

  Status read_offsets() {
    std::uint64_t offset = 0;
    for (std::size_t i = 0; i < mappings_.size(); ++i) {
      LAMINA_ASSIGN_OR_RETURN(const std::uint64_t delta, next("offset", i));
      if (delta > kMaxBlocks - offset) {
        return fail(ErrorKind::kCorrupt, "mapping {} is more than 2^32 blocks from the first", i);
      }
      offset += delta;
      mappings_[i].guest_block = static_cast<std::uint32_t>(offset);
    }
    return {};
  }

  Status read_storage() {
    std::int64_t storage = 0;
    for (std::size_t i = 0; i < mappings_.size(); ++i) {
      LAMINA_ASSIGN_OR_RETURN(const std::uint64_t value, next("storage", i));
      if (__builtin_add_overflow(storage, from_zigzag(value), &storage) || storage < 0 ||
          static_cast<std::uint64_t>(storage) > kMaxBlocks) {
        return fail(ErrorKind::kCorrupt, "mapping {} is at a storage block that no object has", i);
      }
      mappings_[i].storage_block = static_cast<std::uint32_t>(storage);
    }
    return {};
  }

  template <typename Store>
  Status read_column(const char* column, Store store) {
    for (std::size_t i = 0; i < mappings_.size(); ++i) {
      LAMINA_ASSIGN_OR_RETURN(const std::uint64_t value, next(column, i));
      if (value > kMaxBlocks) {
        return fail(ErrorKind::kCorrupt, "the {} of mapping {} is {}", column, i, value);
      }
      store(mappings_[i], static_cast<std::uint32_t>(value));
    }
    return {};
  }

  ByteReader& reader_;
  Header& header_;
  MappingCollector& collector_;
  std::vector<Uuid> ids_;
  std::vector<BuildMapping> mappings_;
};

/// The part of versions 4 and 5 behind the first 64 bytes.
Status decode_packed(ByteReader& reader, Header& header, MappingCollector& collector) {
  const auto flags = reader.get<std::uint8_t>();
  const auto block_bytes = reader.get<std::uint32_t>();
  if (!reader.ok()) return fail(ErrorKind::kCorrupt, "it is cut off");
  if ((flags & kIncompleteFlag) != 0) {
    return fail(ErrorKind::kCorrupt,
                "it is marked as incomplete: its build was being uploaded, and the header was sent "
                "to another node only");
  }
  if (flags != 0) return fail(ErrorKind::kCorrupt, "it has unknown flags {:#x}", flags);
  if (block_bytes > kMaxHeaderBlockBytes) {
    return fail(ErrorKind::kCorrupt, "it decompresses to {} bytes; at most {} are read",
                block_bytes, kMaxHeaderBlockBytes);
  }
  FrameDecoder decoder;
  LAMINA_ASSIGN_OR_RETURN(const std::vector<std::byte> block,
                          decoder.decode_lz4(reader.get_bytes(reader.remaining()), block_bytes));
  ByteReader inner(block);
  LAMINA_RETURN_IF_ERROR(add_entries(inner, header));
  if (header.version == kFirstPackedVersion) {
    const auto count = inner.get<std::uint32_t>();
    if (!inner.ok()) return fail(ErrorKind::kCorrupt, "its mapping is cut off");
    LAMINA_RETURN_IF_ERROR(check_record_count(count, inner.remaining()));
    LAMINA_RETURN_IF_ERROR(add_records(inner, count, header, collector));
  } else {
    LAMINA_RETURN_IF_ERROR(
        ColumnReader(inner, header, collector).run(blocks_for(header.memory_bytes)));
  }
  if (inner.remaining() != 0) {
    return fail(ErrorKind::kCorrupt, "{} bytes follow its mapping", inner.remaining());
  }
  return {};
}

void put_record(ByteWriter& writer, const Header& header, const BuildMapping& mapping) {
  writer.put(std::uint64_t{mapping.guest_block} * kBlockBytes);
  writer.put(std::uint64_t{mapping.block_count} * kBlockBytes);
  writer.put(mapping.build == kNoBuild ? Uuid{} : header.builds[mapping.build]);
  writer.put(std::uint64_t{mapping.storage_block} * kBlockBytes);
}

void put_entries(ByteWriter& writer, const Header& header) {
  writer.put(static_cast<std::uint32_t>(header.entries.size()));
  for (const auto& [id, entry] : header.entries) {
    writer.put(id);
    writer.put(entry.data_bytes);
    writer.put_bytes(std::as_bytes(std::span(entry.sha256)));
    writer.put(static_cast<std::uint32_t>(entry.compression));
    writer.put(static_cast<std::uint32_t>(entry.frames.size()));
    for (const Frame& frame : entry.frames) {
      writer.put(frame.data_offset);
      writer.put(frame.object_offset);
      writer.put(frame.data_bytes);
      writer.put(frame.object_bytes);
    }
  }
}

void put_columns(ByteWriter& writer, const Header& header) {
  writer.put(static_cast<std::uint32_t>(header.builds.size()));
  for (const Uuid& id : header.builds) writer.put(id);
  std::vector<BuildMapping> stored;
  stored.reserve(header.mappings.size());
  std::copy_if(header.mappings.begin(), header.mappings.end(), std::back_inserter(stored),
               [](const BuildMapping& mapping) { return mapping.build != kNoBuild; });
  writer.put(static_cast<std::uint32_t>(stored.size()));
  std::uint32_t before = 0;
  for (const BuildMapping& mapping : stored) {
    put_varint(writer, mapping.guest_block - before);
    before = mapping.guest_block;
  }
  for (const BuildMapping& mapping : stored) put_varint(writer, mapping.block_count);
  std::int64_t storage = 0;
  for (const BuildMapping& mapping : stored) {
    put_varint(writer, to_zigzag(std::int64_t{mapping.storage_block} - storage));
    storage = mapping.storage_block;
  }
  for (const BuildMapping& mapping : stored) put_varint(writer, mapping.build);
}

void put_metadata(ByteWriter& writer, const Header& header) {
  writer.put(std::uint64_t{header.version});
  writer.put(header.block_bytes);
  writer.put(header.memory_bytes);
  writer.put(header.generation);
  writer.put(header.build_id);
  writer.put(header.base_build_id);
}

}  // namespace

Result<Header> decode_header(std::span<const std::byte> bytes) {
  ByteReader reader(bytes);
  Header header;
  const std::uint64_t version = reader.get<std::uint64_t>() & kVersionMask;
  header.block_bytes = reader.get<std::uint64_t>();
  header.memory_bytes = reader.get<std::uint64_t>();
  header.generation = reader.get<std::uint64_t>();
  header.build_id = reader.get_uuid();
  header.base_build_id = reader.get_uuid();
  if (!reader.ok()) {
    return fail(ErrorKind::kCorrupt, "it has {} bytes, and a header has at least {}", bytes.size(),
                kMetadataBytes);
  }
  if (version == 0 || version > kLastVersion) {
    return fail(ErrorKind::kCorrupt, "it has version {}; 1 to {} are known", version, kLastVersion);
  }
  header.version = static_cast<std::uint32_t>(version);
  if (header.block_bytes != kBlockBytes && header.block_bytes != kHugeBlockBytes) {
    return fail(ErrorKind::kCorrupt, "it has blocks of {} bytes; {} and {} are known",
                header.block_bytes, kBlockBytes, kHugeBlockBytes);
  }
  if (blocks_for(header.memory_bytes) > kMaxBlocks) {
    return fail(ErrorKind::kCorrupt, "it is of {} bytes of memory; at most {} are supported",
                header.memory_bytes, kMaxBlocks * kBlockBytes);
  }
  if (header.build_id.is_nil()) return fail(ErrorKind::kCorrupt, "it has no build id");
  MappingCollector collector(header, blocks_for(header.memory_bytes));
  if (version >= kFirstPackedVersion) {
    LAMINA_RETURN_IF_ERROR(decode_packed(reader, header, collector));
  } else {
    if (reader.remaining() % kRecordBytes != 0) {
      return fail(ErrorKind::kCorrupt, "its last record of {} bytes is cut off", kRecordBytes);
    }
    const std::size_t count = reader.remaining() / kRecordBytes;
    LAMINA_RETURN_IF_ERROR(check_record_count(count, reader.remaining()));
    LAMINA_RETURN_IF_ERROR(add_records(reader, count, header, collector));
  }
  LAMINA_RETURN_IF_ERROR(collector.finish());
  return header;
}

Result<std::vector<std::byte>> encode_header(const Header& header) {
  if (header.mappings.size() > kMaxMappings || header.builds.size() > kMaxBuilds) {
    return with_remedy(fail(ErrorKind::kFailed,
                            "the header would have {} mappings of {} builds; E2B reads {} of {}",
                            header.mappings.size(), header.builds.size(), kMaxMappings, kMaxBuilds),
                       "set `compact`");
  }
  ByteWriter writer(kMetadataBytes + header.mappings.size() * kRecordBytes);
  put_metadata(writer, header);
  if (header.version < kFirstPackedVersion) {
    for (const BuildMapping& mapping : header.mappings) put_record(writer, header, mapping);
    return writer.take();
  }
  ByteWriter block;
  put_entries(block, header);
  if (header.version == kFirstPackedVersion) {
    block.put(static_cast<std::uint32_t>(header.mappings.size()));
    for (const BuildMapping& mapping : header.mappings) put_record(block, header, mapping);
  } else {
    put_columns(block, header);
  }
  if (block.size() > kMaxHeaderBlockBytes) {
    return with_remedy(fail(ErrorKind::kFailed, "the header would have {} bytes; E2B reads {}",
                            block.size(), kMaxHeaderBlockBytes),
                       "set `compact`");
  }
  LAMINA_ASSIGN_OR_RETURN(const std::vector<std::byte> frame, encode_header_frame(block.view()));
  writer.put(std::uint8_t{0});
  writer.put(static_cast<std::uint32_t>(block.size()));
  writer.put_bytes(frame);
  return writer.take();
}

}  // namespace lamina::e2b
