// Header files of every format: no input crashes the decoder, and what it accepts is consistent and
// survives a round trip.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "base/block.h"
#include "format/compact_extents.h"
#include "format/header_codec.h"
#include "format/header_native.h"
#include "format/header_v1.h"

namespace {

using namespace lamina;

/// The section of compact extents alone: in a header a checksum keeps changed bytes from it. The
/// first three bytes are the number of extents, of layers, and of blocks.
void check_compact_extents(std::span<const std::byte> bytes) {
  if (bytes.size() < 3) return;
  const auto count = std::to_integer<std::uint32_t>(bytes[0]);
  const auto layer_count = 1 + std::to_integer<std::uint32_t>(bytes[1]) % 80;
  const auto block_count = 1 + 16 * std::to_integer<std::uint32_t>(bytes[2]);
  const auto extents =
      format::decode_compact_extents(bytes.subspan(3), count, layer_count, block_count);
  if (!extents) return;
  std::vector<Uuid> layers(layer_count);
  for (std::uint32_t i = 0; i < layer_count; ++i) {
    layers[i].bytes[0] = static_cast<std::uint8_t>(i + 1);
  }
  const auto mapping = mapping::Mapping::create(block_count, layers, *extents);
  if (!mapping) return;
  const auto section = format::encode_compact_extents(*mapping);
  const auto again = format::decode_compact_extents(
      section, static_cast<std::uint32_t>(mapping->extent_count()), layer_count, block_count);
  if (!again || mapping::Mapping::create(block_count, layers, *again).value() != *mapping)
    std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace lamina::format;
  const auto bytes = std::as_bytes(std::span(data, size));
  check_compact_extents(bytes);
  if (const auto raw = decode_v1(bytes)) {
    const auto again = encode_v1(*raw);
    if (!std::equal(again.begin(), again.end(), bytes.begin(), bytes.end())) std::abort();
  }
  const auto header = decode_header(bytes);
  if (!header) return 0;
  const auto& mapping = header->mapping;
  if (mapping.block_count() != lamina::blocks_for(header->memory_bytes)) std::abort();
  std::uint32_t next = 0;
  for (std::size_t i = 0; i < mapping.extent_count(); ++i) {
    const auto extent = mapping.extent(i);
    if (extent.guest_block != next || extent.layer > mapping.layers().size()) std::abort();
    next = extent.guest_end();
    if (mapping.resolve(next - 1).layer != extent.layer) std::abort();
  }
  if (next != mapping.block_count()) std::abort();
  const auto encoded = encode_header(*header);
  if (!encoded) std::abort();
  const auto decoded = decode_header(*encoded);
  if (!decoded || decoded->mapping != mapping) std::abort();
  if (header->format == lamina::HeaderFormat::kNative) {
    const auto compact = decode_header(encode_native_header(*header, ExtentForm::kCompact));
    if (!compact || compact->mapping != mapping) std::abort();
  }
  return 0;
}
