// The header of a snapshot as bytes, in whatever format.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "format/header.h"
#include "lamina/result.h"

namespace lamina::format {

/// Largest header file that is read: 16 bytes for each extent of a mapping of 2^27 extents.
inline constexpr std::uint64_t kMaxHeaderBytes = std::uint64_t{1} << 31;

/// Recognises the format and decodes it, validated as far as the header alone allows. kCorrupt when
/// the bytes are of no known format or version (the message names both versions), cut or altered.
Result<Header> decode_header(std::span<const std::byte> bytes);

/// Encodes `header` as `header.format` says. kFailed when that format cannot hold it.
Result<std::vector<std::byte>> encode_header(const Header& header);

}  // namespace lamina::format
