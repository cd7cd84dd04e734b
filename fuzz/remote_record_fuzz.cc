// Records and pins of a bucket: the checksums are put right first, so that the fuzzer reaches what
// lies behind them. Whatever is accepted is written back and accepted again.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "check.h"
#include "format/checksum.h"
#include "remote/manifest.h"
#include "remote/pin.h"

namespace {

using lamina::fuzz::check;
using namespace lamina::remote;

const RecordPlace kPlace{"web", 1};
constexpr std::size_t kPublicBytesAt = 16;
constexpr std::size_t kChecksum = 8;

void put_checksum_at_end(std::span<std::byte> bytes) {
  if (bytes.size() < kChecksum) return;
  const std::uint64_t sum = lamina::format::checksum64(bytes.first(bytes.size() - kChecksum));
  std::memcpy(bytes.last(kChecksum).data(), &sum, kChecksum);
}

void read_record_bytes(std::vector<std::byte> bytes) {
  static_cast<void>(decode_record(bytes, kPlace));
  if (bytes.size() >= kRecordPrefixBytes) {
    std::uint64_t length = 0;
    std::memcpy(&length, &bytes[kPublicBytesAt], sizeof(length));
    if (length <= bytes.size()) put_checksum_at_end(std::span(bytes).first(length));
  }
  put_checksum_at_end(bytes);
  const auto manifest = decode_manifest(bytes, kPlace, nullptr);
  if (!manifest) return;
  const auto written = encode_manifest(*manifest, nullptr);
  check(written.has_value());
  const auto again = decode_manifest(*written, kPlace, nullptr);
  check(again && again->record == manifest->record && again->files == manifest->files &&
        again->pack == manifest->pack);
}

void read_pin_bytes(std::vector<std::byte> bytes) {
  put_checksum_at_end(bytes);
  const auto pin = decode_pin(bytes, lamina::Uuid());
  if (!pin) return;
  const auto read_again = decode_pin(encode_pin(*pin), lamina::Uuid());
  check(read_again && *read_again == *pin);
}

void read_key(std::span<const std::byte> bytes) {
  const std::string key(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (const auto place = parse_record_key(key)) check(record_key(*place) == key);
  if (const auto object = parse_tombstone_key(key))
    check(key.starts_with(tombstone_prefix(*object)));
  static_cast<void>(parse_object_key(key));
  static_cast<void>(parse_pin_key(key));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto input = std::as_bytes(std::span(data, size));
  const std::vector<std::byte> bytes(input.begin(), input.end());
  read_record_bytes(bytes);
  read_pin_bytes(bytes);
  read_key(input);
  return 0;
}
