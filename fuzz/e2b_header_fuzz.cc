// Headers of E2B: any bytes, and any bytes as the part that is compressed, which the checksums of
// LZ4 would otherwise hide. What is accepted covers the memory, and comes back the same.
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/block.h"
#include "base/bytes.h"
#include "check.h"
#include "e2b/compression.h"
#include "e2b/header.h"

namespace {

namespace e2b_files = lamina::e2b;

constexpr std::size_t kE2bFirstBytes = 64;

void check_e2b_header(std::span<const std::byte> bytes) {
  const auto header = e2b_files::decode_header(bytes);
  if (!header) return;
  std::uint64_t end = 0;
  for (const e2b_files::BuildMapping& mapping : header->mappings) {
    lamina::fuzz::check(mapping.guest_block == end && mapping.block_count != 0);
    lamina::fuzz::check(mapping.build == e2b_files::kNoBuild ||
                        mapping.build < header->builds.size());
    end += mapping.block_count;
  }
  lamina::fuzz::check(end == lamina::blocks_for(header->memory_bytes));
  if (header->mappings.empty()) return;
  const auto encoded = e2b_files::encode_header(*header);
  lamina::fuzz::check(encoded.has_value());
  const auto again = e2b_files::decode_header(*encoded);
  lamina::fuzz::check(again.has_value() && again->entries == header->entries);
  // Version 5 does not say how zeros were divided.
  if (header->version != 5) lamina::fuzz::check(again->mappings == header->mappings);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  check_e2b_header(bytes);
  if (size < kE2bFirstBytes) return 0;
  const auto block = bytes.subspan(kE2bFirstBytes);
  const auto frame = e2b_files::encode_header_frame(block);
  lamina::fuzz::check(frame.has_value());
  lamina::ByteWriter writer;
  writer.put_bytes(bytes.first(kE2bFirstBytes));
  writer.put(std::uint8_t{0});
  writer.put(static_cast<std::uint32_t>(block.size()));
  writer.put_bytes(*frame);
  check_e2b_header(writer.view());
  return 0;
}
