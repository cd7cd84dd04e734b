#include "remote/pack_contents.h"

#include <algorithm>
#include <span>

#include "base/block.h"

namespace lamina::remote {
namespace {

constexpr std::size_t kPackRunBytes = 2 * sizeof(std::uint32_t);

}  // namespace

void put_pack(ByteWriter& writer, const WorkingSetPack& pack) {
  put_stored_object(writer, pack.object);
  writer.put(static_cast<std::uint32_t>(pack.contents.runs.size()));
  for (const BlockRun& run : pack.contents.runs) {
    writer.put(run.first);
    writer.put(run.count);
  }
  writer.put(pack.contents.blocks());
  writer.put_column(std::span<const std::uint64_t>(pack.contents.checksums));
}

WorkingSetPack get_pack(ByteReader& reader) {
  WorkingSetPack pack;
  pack.object = get_stored_object(reader);
  const auto runs = reader.get<std::uint32_t>();
  if (runs > reader.remaining() / kPackRunBytes) {
    reader.get_bytes(reader.remaining() + 1);  // no longer ok()
    return pack;
  }
  pack.contents.runs.reserve(runs);
  for (std::uint32_t i = 0; i < runs; ++i) {
    const auto first = reader.get<std::uint32_t>();
    pack.contents.runs.push_back({first, reader.get<std::uint32_t>()});
  }
  pack.contents.checksums = reader.get_column<std::uint64_t>(reader.get<std::uint32_t>());
  return pack;
}

std::string_view flaw_of(const PackContents& contents, std::uint64_t memory_bytes) {
  if (contents.checksums.empty() || contents.checksums.size() > kMaxPackBlocks) {
    return "its pack has no blocks, or too many";
  }
  const std::uint64_t memory_blocks = blocks_for(memory_bytes);
  std::uint64_t blocks = 0;
  for (const BlockRun& run : contents.runs) {
    if (run.count == 0 || std::uint64_t{run.first} + run.count > memory_blocks) {
      return "its pack has blocks that are not in the memory";
    }
    blocks += run.count;
  }
  if (blocks != contents.checksums.size()) return "its pack lacks checksums";
  std::vector<BlockRun> sorted = contents.runs;
  std::ranges::sort(sorted, {}, &BlockRun::first);
  for (std::size_t i = 1; i < sorted.size(); ++i) {
    if (sorted[i].first < sorted[i - 1].end()) return "its pack has a block twice";
  }
  return "";
}

}  // namespace lamina::remote
