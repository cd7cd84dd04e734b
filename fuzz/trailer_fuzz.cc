// Trailers: the checksums are put right first, so that the fuzzer reaches what lies behind them.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "format/checksum.h"
#include "format/trailer.h"

namespace {

constexpr std::size_t kFooterChecksumOffset = 248;
constexpr std::size_t kListsChecksumOffset = 128;
constexpr std::size_t kChecksumsChecksumOffset = 136;

void put_at(std::vector<std::byte>& bytes, std::size_t offset, std::uint64_t value) {
  std::memcpy(&bytes[offset], &value, sizeof(value));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace lamina::format;
  if (size < sizeof(std::uint64_t)) return 0;
  // The first bytes choose the file size, the rest is the trailer.
  std::uint64_t file_bytes = 0;
  std::memcpy(&file_bytes, data, sizeof(file_bytes));
  const auto input = std::as_bytes(std::span(data, size)).subspan(sizeof(file_bytes));
  std::vector<std::byte> bytes(input.begin(), input.end());
  static_cast<void>(decode_trailer(bytes, file_bytes));
  if (bytes.size() < kFooterBytes) return 0;

  const std::size_t body = bytes.size() - kFooterBytes;
  const auto footer = std::span(bytes).subspan(body);
  // Where the lists end is in the footer, which must be right to be read.
  put_at(bytes, body + kFooterChecksumOffset, checksum64(footer.first(kFooterChecksumOffset)));
  const auto sizes = decode_footer(footer, file_bytes);
  if (!sizes || !*sizes || (*sizes)->trailer_bytes != bytes.size()) return 0;
  const std::size_t lists = (*sizes)->lists_bytes;
  put_at(bytes, body + kListsChecksumOffset, checksum64(std::span(bytes).first(lists)));
  put_at(bytes, body + kChecksumsChecksumOffset,
         checksum64(std::span(bytes).subspan(lists, body - lists)));
  put_at(bytes, body + kFooterChecksumOffset, checksum64(footer.first(kFooterChecksumOffset)));
  const auto trailer = decode_trailer(bytes, file_bytes);
  auto without = decode_trailer_lists(std::span(bytes).first(lists), footer, file_bytes);
  if (trailer.has_value() != without.has_value()) std::abort();
  if (!trailer) return 0;
  if (without->stored_blocks() != trailer->checksums.size()) std::abort();
  without->checksums = trailer->checksums;
  if (*without != *trailer) std::abort();
  for (const lamina::mapping::StoredExtent& extent : trailer->extents) {
    if (find_stored(*trailer, extent.guest_block) != &extent) std::abort();
    if (extent.checksum_index + extent.block_count > trailer->checksums.size()) std::abort();
    if (extent.storage_block + extent.block_count > trailer->data_blocks) std::abort();
  }
  const auto again = decode_trailer(encode_trailer(*trailer), file_bytes);
  if (again && *again != *trailer) std::abort();
  return 0;
}
