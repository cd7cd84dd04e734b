// Header files of every format: no input crashes the decoder, and what it accepts is consistent and
// survives a round trip.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "base/block.h"
#include "format/header_codec.h"
#include "format/header_v1.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace lamina::format;
  const auto bytes = std::as_bytes(std::span(data, size));
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
  return 0;
}
