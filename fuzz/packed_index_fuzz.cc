// Footer and index of packed objects: the checksums are put right first, so that the fuzzer reaches
// what lies behind them. Whatever is accepted names no block twice and no byte outside.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "check.h"
#include "format/checksum.h"
#include "packed/pack_reader.h"
#include "packed/packed_object.h"

namespace {

using lamina::fuzz::check;
using namespace lamina::packed;

constexpr std::size_t kObjectChecksumOffset = kObjectFooterBytes - 8;
constexpr std::size_t kIndexBytesOffset = 40;
constexpr std::size_t kIndexDigestOffset = 48;
constexpr std::size_t kObjectBytesOffset = 24;
constexpr std::size_t kFramesBytesOffset = 32;
constexpr std::size_t kSealOffset = 60;

template <typename T>
void put_at(std::vector<std::byte>& bytes, std::size_t offset, T value) {
  std::memcpy(&bytes[offset], &value, sizeof(value));
}

std::uint64_t get_at(const std::vector<std::byte>& bytes, std::size_t offset) {
  std::uint64_t value = 0;
  std::memcpy(&value, &bytes[offset], sizeof(value));
  return value;
}

void check_places(const PackReader& reader) {
  std::uint64_t offset = 0;
  std::uint64_t stored = 0;
  for (std::uint32_t frame = 0; frame < reader.frame_count(); ++frame) {
    const lamina::ByteRange range = reader.frame_range(frame);
    check(range.offset == offset);
    offset = range.end();
    const lamina::BlockRun run = reader.blocks_of(frame);
    check(run.first == stored && run.count > 0);
    stored += run.count;
  }
  check(offset == reader.footer().frames_bytes && stored == reader.index().stored_blocks());
  for (const auto& extent : reader.index().extents) {
    const auto place = reader.find(extent.guest_block);
    check(place && place->frame < reader.frame_count());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < kObjectFooterBytes) return 0;
  const auto input = std::as_bytes(std::span(data, size));
  std::vector<std::byte> footer(input.begin(), input.begin() + kObjectFooterBytes);
  const auto index = input.subspan(kObjectFooterBytes);
  static_cast<void>(decode_object_footer(footer, size));

  put_at(footer, kSealOffset, std::uint32_t{0});
  put_at(footer, kIndexBytesOffset, std::uint64_t{index.size()});
  put_at(footer, kIndexDigestOffset, lamina::format::checksum64(index));
  const std::uint64_t object_bytes =
      get_at(footer, kFramesBytesOffset) + index.size() + kObjectFooterBytes;
  put_at(footer, kObjectBytesOffset, object_bytes);
  put_at(footer, kObjectChecksumOffset,
         lamina::format::checksum64(std::span(footer).first(kObjectChecksumOffset)));
  const auto reader = PackReader::open(footer, index, object_bytes, {"object", {}});
  if (!reader) return 0;
  check(encode_object_footer(reader->footer()).size() == kObjectFooterBytes);
  check_places(*reader);
  return 0;
}
