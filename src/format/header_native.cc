#include "format/header_native.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "base/block.h"
#include "base/bytes.h"
#include "base/error.h"
#include "format/compact_extents.h"
#include "mapping/mapping.h"

namespace lamina::format {
namespace {

using mapping::Extent;
using mapping::LayerIndex;
using mapping::Mapping;

constexpr std::string_view kMagic = "LAMINAHD";
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kFixedBytes = 256;
constexpr std::size_t kChecksumOffset = kFixedBytes - sizeof(std::uint64_t);
constexpr std::size_t kLayerBytes = 32;
constexpr std::size_t kExtentBytes = 2 * sizeof(std::uint32_t) + sizeof(LayerIndex);
constexpr std::uint32_t kHasVmstate = 1;
constexpr std::uint32_t kLayerHasChecksums = 1;
/// Incompatible feature: the extents are in the form of compact_extents.h.
constexpr std::uint32_t kCompactFeature = 1;

/// The fixed part of the file.
struct Fixed {
  std::uint64_t total_bytes = 0;
  Header header;
  std::uint32_t layer_count = 0;
  std::uint32_t extent_count = 0;
  std::uint64_t layers_checksum = 0;
  std::uint64_t extents_checksum = 0;
  bool is_compact = false;
};

Result<Fixed> decode_fixed(std::span<const std::byte> bytes) {
  if (bytes.size() < kFixedBytes) {
    return fail(ErrorKind::kCorrupt, "the header has {} bytes, fewer than its fixed part of {}",
                bytes.size(), kFixedBytes);
  }
  ByteReader reader(bytes.first(kFixedBytes));
  reader.get_bytes(kMagic.size());
  const auto version = reader.get<std::uint32_t>();
  const auto fixed_bytes = reader.get<std::uint32_t>();
  if (version != kVersion) {
    return fail(ErrorKind::kCorrupt,
                "the header has native version {}; this build reads version {}", version, kVersion);
  }
  const std::uint64_t stored = ByteReader(bytes.subspan(kChecksumOffset)).get<std::uint64_t>();
  if (fixed_bytes != kFixedBytes || stored != checksum64(bytes.first(kChecksumOffset))) {
    return fail(ErrorKind::kCorrupt, "the header's fixed part does not match its checksum");
  }

  Fixed fixed;
  fixed.total_bytes = reader.get<std::uint64_t>();
  const auto incompatible_features = reader.get<std::uint32_t>();
  reader.get<std::uint32_t>();  // compatible features: ignored
  fixed.header.pause_id = reader.get_uuid();
  fixed.header.build_id = reader.get_uuid();
  fixed.header.base_build_id = reader.get_uuid();
  fixed.header.memory_bytes = reader.get<std::uint64_t>();
  const auto block_bytes = reader.get<std::uint32_t>();
  const auto flags = reader.get<std::uint32_t>();
  fixed.layer_count = reader.get<std::uint32_t>();
  fixed.extent_count = reader.get<std::uint32_t>();
  fixed.layers_checksum = reader.get<std::uint64_t>();
  fixed.extents_checksum = reader.get<std::uint64_t>();
  FileDigest vmstate;
  vmstate.size_bytes = reader.get<std::uint64_t>();
  const auto digest = reader.get_bytes(vmstate.digest.size());
  std::transform(digest.begin(), digest.end(), vmstate.digest.begin(),
                 [](std::byte b) { return std::to_integer<std::uint8_t>(b); });
  if ((flags & kHasVmstate) != 0) fixed.header.vmstate = vmstate;
  const auto compact_bytes = reader.get<std::uint64_t>();

  if ((incompatible_features & ~kCompactFeature) != 0) {
    return fail(ErrorKind::kCorrupt,
                "the header needs features {:#x} that this build does not know",
                incompatible_features & ~kCompactFeature);
  }
  fixed.is_compact = (incompatible_features & kCompactFeature) != 0;
  if (block_bytes != kBlockBytes) {
    return fail(ErrorKind::kCorrupt, "the header has blocks of {} bytes; native headers have {}",
                block_bytes, kBlockBytes);
  }
  const std::uint64_t extents_bytes =
      fixed.is_compact ? compact_bytes : std::uint64_t{fixed.extent_count} * kExtentBytes;
  const std::uint64_t before = kFixedBytes + std::uint64_t{fixed.layer_count} * kLayerBytes;
  const std::uint64_t expected = before + std::min(extents_bytes, UINT64_MAX - before);
  if (fixed.total_bytes != expected || bytes.size() != expected) {
    return fail(ErrorKind::kCorrupt, "the header has {} bytes where its counts need {}",
                bytes.size(), expected);
  }
  return fixed;
}

std::vector<Uuid> decode_layers(std::span<const std::byte> section, std::uint32_t count,
                                std::vector<LayerFacts>& facts) {
  ByteReader reader(section);
  std::vector<Uuid> layers;
  layers.reserve(count);
  facts.reserve(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    layers.push_back(reader.get_uuid());
    LayerFacts layer;
    layer.data_blocks = reader.get<std::uint64_t>();
    layer.has_checksums = (reader.get<std::uint32_t>() & kLayerHasChecksums) != 0;
    reader.get<std::uint32_t>();
    facts.push_back(layer);
  }
  return layers;
}

Result<std::vector<Extent>> decode_extents(std::span<const std::byte> section, std::uint32_t count,
                                           std::uint32_t block_count) {
  const std::size_t column_bytes = count * sizeof(std::uint32_t);
  ByteReader starts(section.first(column_bytes));
  ByteReader storage(section.subspan(column_bytes, column_bytes));
  ByteReader layers(section.subspan(2 * column_bytes));
  std::vector<Extent> extents;
  extents.reserve(count);
  std::uint32_t start = count > 0 ? starts.get<std::uint32_t>() : 0;
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint32_t end = i + 1 < count ? starts.get<std::uint32_t>() : block_count;
    if (end <= start) {
      return fail(ErrorKind::kCorrupt, "extent {} starts at {:#x}, at or past the next one's {:#x}",
                  i, start * kBlockBytes, end * kBlockBytes);
    }
    extents.push_back({start, end - start, layers.get<LayerIndex>(), storage.get<std::uint32_t>()});
    start = end;
  }
  return extents;
}

}  // namespace

bool is_native_header(std::span<const std::byte> bytes) {
  const auto magic = std::as_bytes(std::span(kMagic));
  return bytes.size() >= magic.size() && std::equal(magic.begin(), magic.end(), bytes.begin());
}

Result<Header> decode_native_header(std::span<const std::byte> bytes) {
  if (!is_native_header(bytes)) return fail(ErrorKind::kCorrupt, "the header has no native magic");
  LAMINA_ASSIGN_OR_RETURN(Fixed fixed, decode_fixed(bytes));
  const std::size_t layers_bytes = fixed.layer_count * kLayerBytes;
  const auto layers_section = bytes.subspan(kFixedBytes, layers_bytes);
  const auto extents_section = bytes.subspan(kFixedBytes + layers_bytes);
  if (checksum64(layers_section) != fixed.layers_checksum) {
    return fail(ErrorKind::kCorrupt, "the header's table of layers does not match its checksum");
  }
  if (checksum64(extents_section) != fixed.extents_checksum) {
    return fail(ErrorKind::kCorrupt, "the header's extents do not match their checksum");
  }

  Header& header = fixed.header;
  const std::uint64_t blocks = blocks_for(header.memory_bytes);
  if (blocks == 0 || blocks > kMaxBlocks) {
    return fail(ErrorKind::kCorrupt, "the header has memory size {}; 1 to {} bytes are supported",
                header.memory_bytes, kMaxBlocks * kBlockBytes);
  }
  const auto block_count = static_cast<std::uint32_t>(blocks);
  std::vector<Uuid> layers = decode_layers(layers_section, fixed.layer_count, header.layers);
  LAMINA_ASSIGN_OR_RETURN(
      const std::vector<Extent> extents,
      fixed.is_compact
          ? decode_compact_extents(extents_section, fixed.extent_count, layers.size(), block_count)
          : decode_extents(extents_section, fixed.extent_count, block_count));
  LAMINA_ASSIGN_OR_RETURN(header.mapping, Mapping::create(block_count, std::move(layers), extents));
  for (std::size_t i = 0; i < extents.size(); ++i) {
    const Extent& extent = extents[i];
    if (extent.layer == mapping::kZeros) continue;
    const std::uint64_t data_blocks = header.layers[extent.layer - 1U].data_blocks;
    if (std::uint64_t{extent.storage_block} + extent.block_count > data_blocks) {
      return fail(ErrorKind::kCorrupt,
                  "extent {} ends at {:#x} of layer {}, past its data's end {:#x}", i,
                  (std::uint64_t{extent.storage_block} + extent.block_count) * kBlockBytes,
                  header.mapping.layer_id(extent.layer).to_string(), data_blocks * kBlockBytes);
    }
  }
  if (header.mapping.layer_index(header.build_id) == mapping::kZeros) {
    return fail(ErrorKind::kCorrupt, "the header's build id {} is not in its table of layers",
                header.build_id.to_string());
  }
  header.format = HeaderFormat::kNative;
  header.generation = fixed.layer_count - 1;
  return std::move(header);
}

std::vector<std::byte> encode_native_header(const Header& header, ExtentForm form) {
  const Mapping& mapping = header.mapping;
  const std::size_t column_bytes = mapping.extent_count() * kExtentBytes;
  std::vector<std::byte> compact;
  const bool is_worth_it =
      mapping.extent_count() >= kCompactExtents && mapping.extent_count() <= kMaxCompactExtents;
  if (form == ExtentForm::kCompact || (form == ExtentForm::kShorter && is_worth_it)) {
    compact = encode_compact_extents(mapping);
    if (form == ExtentForm::kShorter && compact.size() >= column_bytes) compact.clear();
  }
  const bool is_compact = !compact.empty();
  const std::size_t layers_bytes = mapping.layers().size() * kLayerBytes;
  const std::size_t file_bytes =
      kFixedBytes + layers_bytes + (is_compact ? compact.size() : column_bytes);
  // The fixed part contains checksums of the other parts, so it is filled in last.
  ByteWriter body(file_bytes);
  body.put_zeros_until(kFixedBytes);
  for (std::size_t i = 0; i < mapping.layers().size(); ++i) {
    body.put(mapping.layers()[i]);
    body.put(header.layers[i].data_blocks);
    body.put(header.layers[i].has_checksums ? kLayerHasChecksums : std::uint32_t{0});
    body.put(std::uint32_t{0});
  }
  if (is_compact) {
    body.put_bytes(compact);
  } else {
    body.put_column(mapping.starts());
    body.put_column(mapping.storage());
    body.put_column(mapping.layer_column());
  }
  const auto layers = body.view().subspan(kFixedBytes, layers_bytes);
  const auto extents = body.view().subspan(kFixedBytes + layers_bytes);

  ByteWriter file(kFixedBytes);
  file.put_bytes(std::as_bytes(std::span(kMagic)));
  file.put(kVersion);
  file.put(static_cast<std::uint32_t>(kFixedBytes));
  file.put(std::uint64_t{file_bytes});
  file.put(is_compact ? kCompactFeature : std::uint32_t{0});
  file.put(std::uint32_t{0});
  file.put(header.pause_id);
  file.put(header.build_id);
  file.put(header.base_build_id);
  file.put(header.memory_bytes);
  file.put(static_cast<std::uint32_t>(kBlockBytes));
  file.put(header.vmstate ? kHasVmstate : std::uint32_t{0});
  file.put(static_cast<std::uint32_t>(mapping.layers().size()));
  file.put(static_cast<std::uint32_t>(mapping.extent_count()));
  file.put(checksum64(layers));
  file.put(checksum64(extents));
  const FileDigest vmstate = header.vmstate.value_or(FileDigest{});
  file.put(vmstate.size_bytes);
  file.put_bytes(std::as_bytes(std::span(vmstate.digest)));
  file.put(std::uint64_t{compact.size()});
  file.put_zeros_until(kChecksumOffset);
  file.put(checksum64(file.view()));
  std::vector<std::byte> bytes = body.take();
  std::ranges::copy(file.view(), bytes.begin());
  return bytes;
}

}  // namespace lamina::format
