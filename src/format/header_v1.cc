#include "format/header_v1.h"

#include <algorithm>
#include <bit>
#include <map>

#include "base/block.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/error.h"
#include "mapping/mapping.h"

namespace lamina::format {
namespace {

using mapping::Extent;
using mapping::LayerIndex;
using mapping::Mapping;

constexpr std::size_t kFixedBytes = 64;
constexpr std::size_t kRecordBytes = 40;
constexpr std::uint64_t kMaxBlockBytes = std::uint64_t{2} << 20;

/// Limits that every record must respect.
struct Bounds {
  std::uint64_t block_bytes = 0;
  std::uint64_t memory_bytes = 0;
  std::uint64_t rounded_bytes = 0;  ///< memory_bytes rounded up to block_bytes
};

Result<Bounds> check_fixed(const HeaderV1& raw) {
  if (raw.block_bytes < kBlockBytes || raw.block_bytes > kMaxBlockBytes ||
      !std::has_single_bit(raw.block_bytes)) {
    return fail(ErrorKind::kCorrupt,
                "the header has block size {}; powers of two from {} to {} are supported",
                raw.block_bytes, kBlockBytes, kMaxBlockBytes);
  }
  const auto rounded = checked_round_up(raw.memory_bytes, raw.block_bytes);
  if (raw.memory_bytes == 0 || !rounded || *rounded > kMaxBlocks * kBlockBytes) {
    return fail(ErrorKind::kCorrupt, "the header has memory size {}; 1 to {} bytes are supported",
                raw.memory_bytes, kMaxBlocks * kBlockBytes);
  }
  if (raw.build_id.is_nil()) {
    return fail(ErrorKind::kCorrupt, "the header's build id is nil");
  }
  return Bounds{raw.block_bytes, raw.memory_bytes, *rounded};
}

Status check_record(const RecordV1& record, std::size_t index, std::uint64_t expected_offset,
                    const Bounds& bounds) {
  if (record.offset != expected_offset) {
    return fail(
        ErrorKind::kCorrupt, "extent {} starts at {:#x}, {} {:#x} where the one before ends", index,
        record.offset, record.offset < expected_offset ? "before" : "past", expected_offset);
  }
  // Happens if the previous record ended at the memory size, within a block.
  if (record.offset >= bounds.memory_bytes) {
    return fail(ErrorKind::kCorrupt, "extent {} starts at {:#x}, past memory size {:#x}", index,
                record.offset, bounds.memory_bytes);
  }
  const auto end = checked_add(record.offset, record.length);
  if (record.length == 0 || !end) {
    return fail(ErrorKind::kCorrupt, "extent {} has length {:#x}", index, record.length);
  }
  if (*end > bounds.rounded_bytes) {
    return fail(ErrorKind::kCorrupt, "extent {} ends at {:#x}, past memory size {:#x}", index, *end,
                bounds.memory_bytes);
  }
  if (*end % bounds.block_bytes != 0 && *end != bounds.memory_bytes) {
    return fail(ErrorKind::kCorrupt,
                "extent {} has length {:#x}, not a multiple of block size {:#x}", index,
                record.length, bounds.block_bytes);
  }
  if (record.build_id.is_nil()) return {};  // zeros: the storage offset is unused
  const auto storage_end = checked_add(record.storage_offset, record.length);
  if (record.storage_offset % bounds.block_bytes != 0 || !storage_end ||
      *storage_end > kMaxBlocks * kBlockBytes) {
    return fail(
        ErrorKind::kCorrupt,
        "extent {} has storage offset {:#x}: not a multiple of block size {:#x}, or too large",
        index, record.storage_offset, bounds.block_bytes);
  }
  return {};
}

/// The layers in index order: the base first, the own build last, the others by first appearance.
std::vector<Uuid> list_layers(const HeaderV1& raw) {
  std::vector<Uuid> layers;
  std::map<Uuid, bool> seen{{Uuid{}, true}, {raw.build_id, true}};
  const auto add = [&](const Uuid& id) {
    if (!std::exchange(seen[id], true)) layers.push_back(id);
  };
  const bool base_is_used =
      std::any_of(raw.records.begin(), raw.records.end(),
                  [&](const RecordV1& record) { return record.build_id == raw.base_build_id; });
  if (base_is_used) add(raw.base_build_id);
  for (const RecordV1& record : raw.records) add(record.build_id);
  layers.push_back(raw.build_id);
  return layers;
}

}  // namespace

bool is_v1_header(std::span<const std::byte> bytes) {
  const auto version = ByteReader(bytes).get<std::uint64_t>();
  return version == 1 || version == 3;
}

Result<HeaderV1> decode_v1(std::span<const std::byte> bytes) {
  if (bytes.size() < kFixedBytes || (bytes.size() - kFixedBytes) % kRecordBytes != 0) {
    return fail(ErrorKind::kCorrupt, "the header has {} bytes; it must have {} and {} per extent",
                bytes.size(), kFixedBytes, kRecordBytes);
  }
  ByteReader reader(bytes);
  HeaderV1 header;
  header.version = reader.get<std::uint64_t>();
  if (header.version != 1 && header.version != 3) {
    return fail(ErrorKind::kCorrupt, "the header has version {}; this build reads 1 and 3",
                header.version);
  }
  header.block_bytes = reader.get<std::uint64_t>();
  header.memory_bytes = reader.get<std::uint64_t>();
  header.generation = reader.get<std::uint64_t>();
  header.build_id = reader.get_uuid();
  header.base_build_id = reader.get_uuid();
  header.records.resize(reader.remaining() / kRecordBytes);
  for (RecordV1& record : header.records) {
    record.offset = reader.get<std::uint64_t>();
    record.length = reader.get<std::uint64_t>();
    record.build_id = reader.get_uuid();
    record.storage_offset = reader.get<std::uint64_t>();
  }
  return header;
}

std::vector<std::byte> encode_v1(const HeaderV1& header) {
  ByteWriter file;
  file.put(header.version);
  file.put(header.block_bytes);
  file.put(header.memory_bytes);
  file.put(header.generation);
  file.put(header.build_id);
  file.put(header.base_build_id);
  for (const RecordV1& record : header.records) {
    file.put(record.offset);
    file.put(record.length);
    file.put(record.build_id);
    file.put(record.storage_offset);
  }
  return file.take();
}

Result<Header> to_header(const HeaderV1& raw) {
  LAMINA_ASSIGN_OR_RETURN(const Bounds bounds, check_fixed(raw));
  std::vector<RecordV1> implied;
  if (raw.records.empty()) implied = {{0, bounds.rounded_bytes, raw.build_id, 0}};
  const std::vector<RecordV1>& records = raw.records.empty() ? implied : raw.records;

  std::vector<Uuid> layers = list_layers(raw);
  if (layers.size() > mapping::kMaxLayers) {
    return fail(ErrorKind::kCorrupt, "the header has {} layers; at most {} are supported",
                layers.size(), mapping::kMaxLayers);
  }
  std::map<Uuid, LayerIndex> index{{Uuid{}, mapping::kZeros}};
  for (std::size_t i = 0; i < layers.size(); ++i) {
    index[layers[i]] = static_cast<LayerIndex>(i + 1);
  }
  const std::uint64_t block_count = blocks_for(raw.memory_bytes);
  std::vector<Extent> extents;
  extents.reserve(records.size());
  std::uint64_t expected = 0;
  for (std::size_t i = 0; i < records.size(); ++i) {
    const RecordV1& record = records[i];
    LAMINA_RETURN_IF_ERROR(check_record(record, i, expected, bounds));
    expected = record.offset + record.length;
    // With blocks larger than 4 KiB the last record may reach past the last 4 KiB block; cut it
    // there. check_record() has verified that both ends are below 2^32 blocks.
    const std::uint64_t start = record.offset / kBlockBytes;
    const std::uint64_t end = std::min(blocks_for(expected), block_count);
    const LayerIndex layer = index[record.build_id];
    const std::uint64_t storage =
        layer == mapping::kZeros ? 0 : record.storage_offset / kBlockBytes;
    if (end > start) {
      extents.push_back({static_cast<std::uint32_t>(start), static_cast<std::uint32_t>(end - start),
                         layer, static_cast<std::uint32_t>(storage)});
    }
  }
  if (expected < raw.memory_bytes) {
    return fail(ErrorKind::kCorrupt, "the extents end at {:#x}, before memory size {:#x}", expected,
                raw.memory_bytes);
  }
  Header header;
  header.format = raw.version == 3 ? HeaderFormat::kV3 : HeaderFormat::kV1;
  header.build_id = raw.build_id;
  header.base_build_id = raw.base_build_id;
  header.memory_bytes = raw.memory_bytes;
  header.generation = raw.generation;
  header.layers.resize(layers.size());
  LAMINA_ASSIGN_OR_RETURN(header.mapping, Mapping::create(static_cast<std::uint32_t>(block_count),
                                                          std::move(layers), extents));
  return header;
}

HeaderV1 from_header(const Header& header) {
  HeaderV1 raw;
  raw.version = header.format == HeaderFormat::kV3 ? 3 : 1;
  raw.block_bytes = kBlockBytes;
  raw.memory_bytes = header.memory_bytes;
  raw.generation = header.generation;
  raw.build_id = header.build_id;
  raw.base_build_id = header.base_build_id;
  const Mapping& mapping = header.mapping;
  raw.records.reserve(mapping.extent_count());
  for (std::size_t i = 0; i < mapping.extent_count(); ++i) {
    const Extent extent = mapping.extent(i);
    raw.records.push_back({
        .offset = extent.guest_block * kBlockBytes,
        .length = extent.block_count * kBlockBytes,
        .build_id = extent.layer == mapping::kZeros ? Uuid{} : mapping.layer_id(extent.layer),
        .storage_offset = extent.storage_block * kBlockBytes,
    });
  }
  return raw;
}

}  // namespace lamina::format
