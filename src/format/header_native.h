// lamina's own header. The bytes are described in docs/format.md.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "format/header.h"
#include "lamina/result.h"

namespace lamina::format {

/// True if `bytes` begin with the native magic.
bool is_native_header(std::span<const std::byte> bytes);

/// Decodes and validates. Detects every truncation and every changed byte (kCorrupt).
Result<Header> decode_native_header(std::span<const std::byte> bytes);

/// Encodes. REQUIRES: header.layers is parallel to header.mapping.layers().
std::vector<std::byte> encode_native_header(const Header& header);

}  // namespace lamina::format
