#include "plain_mapping.h"

#include <algorithm>

#include "base/block.h"
#include "base/bytes.h"

namespace lamina::bench {

PlainMapping create_mapping(const Uuid& build, const std::vector<std::uint8_t>& marks) {
  PlainMapping mapping;
  std::uint64_t storage = 0;
  for (std::size_t i = 0; i < marks.size();) {
    if (marks[i] == 0) {
      ++i;
      continue;
    }
    const std::size_t start = i;
    while (i < marks.size() && marks[i] != 0) ++i;
    const std::uint64_t length = (i - start) * kBlockBytes;
    mapping.push_back({start * kBlockBytes, length, build, storage});
    // Zeros take no storage.
    if (!build.is_nil()) storage += length;
  }
  return mapping;
}

PlainMapping merge_mappings(PlainMapping base, const PlainMapping& diff) {
  if (diff.empty()) return base;
  PlainMapping merged;
  std::size_t base_index = 0;
  std::size_t diff_index = 0;
  // The part of a base record from `start` on.
  const auto tail = [](const PlainRecord& record, std::uint64_t start) {
    const std::uint64_t shift = start - record.offset;
    return PlainRecord{start, record.length - shift, record.build,
                       record.build.is_nil() ? 0 : record.storage_offset + shift};
  };
  while (base_index < base.size() && diff_index < diff.size()) {
    const PlainRecord under = base[base_index];
    const PlainRecord& over = diff[diff_index];
    const std::uint64_t under_end = under.offset + under.length;
    const std::uint64_t over_end = over.offset + over.length;
    if (under_end <= over.offset) {
      merged.push_back(under);
      ++base_index;
    } else if (over_end <= under.offset) {
      merged.push_back(over);
      ++diff_index;
    } else if (under.offset >= over.offset && under_end <= over_end) {
      ++base_index;
    } else if (over.offset >= under.offset && over_end <= under_end) {
      if (over.offset > under.offset) {
        merged.push_back(
            {under.offset, over.offset - under.offset, under.build, under.storage_offset});
      }
      merged.push_back(over);
      ++diff_index;
      if (over_end < under_end) {
        base[base_index] = tail(under, over_end);
      } else {
        ++base_index;
      }
    } else if (under.offset > over.offset) {
      merged.push_back(over);
      ++diff_index;
      base[base_index] = tail(under, over_end);
    } else {
      merged.push_back(
          {under.offset, over.offset - under.offset, under.build, under.storage_offset});
      ++base_index;
    }
  }
  merged.insert(merged.end(), base.begin() + static_cast<std::ptrdiff_t>(base_index), base.end());
  merged.insert(merged.end(), diff.begin() + static_cast<std::ptrdiff_t>(diff_index), diff.end());
  return merged;
}

PlainMapping normalize_mappings(const PlainMapping& mapping) {
  PlainMapping normalized;
  for (const PlainRecord& record : mapping) {
    if (!normalized.empty() && normalized.back().build == record.build) {
      normalized.back().length += record.length;
    } else {
      normalized.push_back(record);
    }
  }
  return normalized;
}

void PlainHeader::index() {
  block_starts_.assign(blocks_for(memory_bytes), 0);
  start_map_.clear();
  for (std::size_t i = 0; i < mapping.size(); ++i) {
    const std::uint64_t block = mapping[i].offset / kBlockBytes;
    block_starts_[block] = 1;
    start_map_[block] = i;
  }
}

std::optional<PlainHeader::Place> PlainHeader::find(std::uint64_t offset) const {
  const std::uint64_t block = offset / kBlockBytes;
  for (std::uint64_t start = block + 1; start-- > 0;) {
    if (block_starts_[start] == 0) continue;
    const PlainRecord& record = mapping[start_map_.at(start)];
    return Place{record.storage_offset + (block - start) * kBlockBytes, record.build};
  }
  return std::nullopt;
}

std::vector<std::byte> serialize(const PlainHeader& header) {
  constexpr std::uint64_t kVersion = 1;
  ByteWriter writer;
  writer.put(kVersion);
  writer.put(kBlockBytes);
  writer.put(header.memory_bytes);
  writer.put(header.generation);
  writer.put(header.build_id);
  writer.put(header.base_build_id);
  for (const PlainRecord& record : header.mapping) {
    writer.put(record.offset);
    writer.put(record.length);
    writer.put(record.build);
    writer.put(record.storage_offset);
  }
  return writer.take();
}

PlainHeader deserialize(std::span<const std::byte> bytes) {
  ByteReader reader(bytes);
  PlainHeader header;
  reader.get<std::uint64_t>();  // the version
  reader.get<std::uint64_t>();  // the size of a block
  header.memory_bytes = reader.get<std::uint64_t>();
  header.generation = reader.get<std::uint64_t>();
  header.build_id = reader.get_uuid();
  header.base_build_id = reader.get_uuid();
  while (reader.remaining() > 0) {
    PlainRecord record;
    record.offset = reader.get<std::uint64_t>();
    record.length = reader.get<std::uint64_t>();
    record.build = reader.get_uuid();
    record.storage_offset = reader.get<std::uint64_t>();
    header.mapping.push_back(record);
  }
  return header;
}

}  // namespace lamina::bench
