// What the encodings of this folder have in common: texts, lists of bytes, and the checksum at the
// end. All numbers are little-endian.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "format/checksum.h"

namespace lamina::remote {

inline constexpr std::size_t kChecksumBytes = sizeof(std::uint64_t);

/// Appends the length in 16 bits and the text. REQUIRES: text.size() < 65536.
inline void put_text(ByteWriter& writer, std::string_view text) {
  writer.put(static_cast<std::uint16_t>(text.size()));
  writer.put_bytes(std::as_bytes(std::span(text)));
}

inline std::string to_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

inline std::string get_text(ByteReader& reader) {
  return to_text(reader.get_bytes(reader.get<std::uint16_t>()));
}

/// Appends the length in 32 bits and the bytes. REQUIRES: fewer than 2^32 bytes.
inline void put_sized_bytes(ByteWriter& writer, std::span<const std::byte> bytes) {
  writer.put(static_cast<std::uint32_t>(bytes.size()));
  writer.put_bytes(bytes);
}

inline std::vector<std::byte> get_sized_bytes(ByteReader& reader) {
  const auto bytes = reader.get_bytes(reader.get<std::uint32_t>());
  return {bytes.begin(), bytes.end()};
}

inline void put_checksum(ByteWriter& writer) { writer.put(format::checksum64(writer.view())); }

/// True if `bytes` end with the checksum of what is before it.
inline bool has_checksum(std::span<const std::byte> bytes) {
  if (bytes.size() < kChecksumBytes) return false;
  ByteReader reader(bytes.last(kChecksumBytes));
  return reader.get<std::uint64_t>() ==
         format::checksum64(bytes.first(bytes.size() - kChecksumBytes));
}

}  // namespace lamina::remote
