#include "remote/file_parts.h"

#include "remote/encoding.h"

namespace lamina::remote {
namespace {

/// Bytes of a run in the encoding.
constexpr std::size_t kMappedRunBytes = 9;

/// Makes a reader no longer ok().
void refuse(ByteReader& reader) { reader.get_bytes(reader.remaining() + 1); }

}  // namespace

void append_run(std::vector<MappedRun>& map, BlockRun run, std::uint8_t part) {
  if (!map.empty() && map.back().part == part && map.back().run.end() == run.first) {
    map.back().run.count += run.count;
  } else {
    map.push_back({run, part});
  }
}

void put_stored_object(ByteWriter& writer, const StoredObject& object) {
  writer.put(object.reference);
  put_sized_bytes(writer, object.footer);
  put_sized_bytes(writer, object.index);
}

StoredObject get_stored_object(ByteReader& reader) {
  StoredObject object;
  object.reference = reader.get<std::uint32_t>();
  object.footer = get_sized_bytes(reader);
  object.index = get_sized_bytes(reader);
  return object;
}

void put_parted_file(ByteWriter& writer, const PartedFile& file) {
  writer.put(static_cast<std::uint8_t>(file.parts.size()));
  for (const FilePart& part : file.parts) {
    put_stored_object(writer, part.object);
    writer.put(part.data_blocks);
  }
  writer.put(static_cast<std::uint32_t>(file.map.size()));
  for (const MappedRun& mapped : file.map) {
    writer.put(mapped.run.first);
    writer.put(mapped.run.count);
    writer.put(mapped.part);
  }
}

PartedFile get_parted_file(ByteReader& reader) {
  PartedFile file;
  const auto parts = reader.get<std::uint8_t>();
  for (std::uint8_t i = 0; i < parts && reader.ok(); ++i) {
    FilePart part;
    part.object = get_stored_object(reader);
    part.data_blocks = reader.get<std::uint32_t>();
    file.parts.push_back(std::move(part));
  }
  const auto runs = reader.get<std::uint32_t>();
  if (runs > reader.remaining() / kMappedRunBytes) {
    refuse(reader);
    return file;
  }
  file.map.reserve(runs);
  for (std::uint32_t i = 0; i < runs; ++i) {
    MappedRun mapped;
    mapped.run.first = reader.get<std::uint32_t>();
    mapped.run.count = reader.get<std::uint32_t>();
    mapped.part = reader.get<std::uint8_t>();
    file.map.push_back(mapped);
  }
  return file;
}

std::string_view flaw_of(const PartedFile& file, std::uint64_t size_bytes) {
  if (file.parts.size() > kMaxFileParts) return "it has too many parts";
  if (file.map.size() > kMaxMapRuns) return "its map has too many runs";
  const std::uint64_t blocks = blocks_for(size_bytes);
  if (blocks > kMaxBlocks) return "it is too large";
  if (file.map.empty()) return file.parts.size() > 1 ? "it has several parts and no map" : "";
  std::uint64_t end = 0;
  const MappedRun* before = nullptr;
  for (const MappedRun& mapped : file.map) {
    if (mapped.run.count == 0 || mapped.run.first < end) return "its map is not in order";
    if (before != nullptr && before->part == mapped.part && before->run.end() == mapped.run.first)
      return "its map has two runs that are one";
    end = std::uint64_t{mapped.run.first} + mapped.run.count;
    if (end > blocks) return "its map leads beyond its end";
    if (mapped.part >= file.parts.size()) return "its map names a part that it does not have";
    before = &mapped;
  }
  return "";
}

}  // namespace lamina::remote
