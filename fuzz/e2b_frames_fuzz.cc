// Frames of E2B's data objects: any bytes, by both methods, as any number of bytes. Nothing is
// written outside the buffers (the sanitizers see to that); and any bytes come back from a frame.
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "check.h"
#include "e2b/compression.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 3) return 0;
  const auto method =
      data[0] % 2 == 0 ? lamina::e2b::Compression::kZstd : lamina::e2b::Compression::kLz4;
  const std::size_t length = 1U + data[1] + std::size_t{256} * data[2];
  const auto bytes = std::as_bytes(std::span(data, size)).subspan(3);
  lamina::e2b::FrameDecoder decoder;
  std::vector<std::byte> out(length);
  static_cast<void>(decoder.decode(method, bytes, out));
  static_cast<void>(decoder.decode_lz4(bytes, length));
  if (bytes.empty()) return 0;
  lamina::e2b::FrameEncoder encoder(method);
  const auto frame = encoder.encode(bytes);
  lamina::fuzz::check(frame.has_value());
  out.resize(bytes.size());
  lamina::fuzz::check(decoder.decode(method, *frame, out).has_value());
  lamina::fuzz::check(std::vector<std::byte>(bytes.begin(), bytes.end()) == out);
  lamina::fuzz::check(!decoder.decode(method, frame->first(frame->size() - 1), out));
  return 0;
}
