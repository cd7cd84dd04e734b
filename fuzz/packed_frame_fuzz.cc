// Frames: any bytes, by every method, as every number of blocks. Nothing is read or written outside
// the buffers (the sanitizers see to that), and what is accepted matches its checksums.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "base/block.h"
#include "check.h"
#include "format/checksum.h"
#include "packed/frame_codec.h"

namespace {

using lamina::kBlockBytes;
using lamina::fuzz::check;
using namespace lamina::packed;

constexpr std::uint32_t kMostBlocks = 4;

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1) return 0;
  const auto method = static_cast<Method>(data[0] % (kLastMethod + 1));
  const std::uint32_t blocks = 1 + data[0] / 64 % kMostBlocks;
  const auto stored = std::as_bytes(std::span(data, size)).subspan(1);
  FrameEntry entry;
  entry.length = static_cast<std::uint32_t>(stored.size());
  entry.method = method;
  entry.digest = lamina::format::checksum64(stored);
  if (stored.size() < blocks * sizeof(std::uint64_t)) return 0;
  std::vector<std::uint64_t> checksums(blocks);
  std::vector<std::byte> decoded(blocks * kBlockBytes);
  FrameDecoder decoder(kMostBlocks, std::nullopt);
  // The checksums are put right when the rest decompresses.
  std::vector<std::byte> whole(stored.begin(), stored.end());
  const auto body = std::span(whole).subspan(blocks * sizeof(std::uint64_t));
  if (!Decompressor().decompress(method, body, decoded)) {
    check(!decoder.decode(0, entry, stored, checksums, decoded));
    return 0;
  }
  for (std::uint32_t i = 0; i < blocks; ++i) {
    const std::uint64_t right =
        lamina::format::checksum64(std::span(decoded).subspan(i * kBlockBytes, kBlockBytes));
    std::memcpy(&whole[i * sizeof(right)], &right, sizeof(right));
  }
  entry.digest = lamina::format::checksum64(whole);
  std::vector<std::byte> again(decoded.size());
  check(decoder.decode(0, entry, whole, checksums, again).has_value() && again == decoded);
  FrameEncoder encoder(method, kMostBlocks, std::nullopt);
  const auto encoded = encoder.encode(0, checksums, decoded);
  check(encoded.has_value());
  entry.length = static_cast<std::uint32_t>(encoded->bytes.size());
  entry.method = encoded->method;
  entry.digest = lamina::format::checksum64(encoded->bytes);
  check(decoder.decode(0, entry, encoded->bytes, checksums, again).has_value() && again == decoded);
  return 0;
}
