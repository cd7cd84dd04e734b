// Encodes and decodes the header of a snapshot in all supported formats.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "format/header.h"
#include "lamina/result.h"

namespace lamina::format {

/// Largest header file that is read: 16 bytes for each of 2^27 extents.
inline constexpr std::uint64_t kMaxHeaderBytes = std::uint64_t{1} << 31;

/// Detects the format, decodes the header and validates it as far as possible without its layers.
/// kCorrupt if the format or version is unknown (the message names both versions), or the bytes are
/// truncated or altered.
Result<Header> decode_header(std::span<const std::byte> bytes);

/// Encodes `header` in `header.format`. kFailed if that format cannot represent it.
Result<std::vector<std::byte>> encode_header(const Header& header);

}  // namespace lamina::format
