// Binary data in JSON.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace lamina::ui {

/// RFC 4648, with padding.
std::string base64(std::span<const std::uint8_t> bytes);

/// Appends `value` in little-endian order, in `size` bytes.
void append_number(std::vector<std::uint8_t>& bytes, std::uint64_t value, std::size_t size);

}  // namespace lamina::ui
