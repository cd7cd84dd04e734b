// The checksums of the file formats: XXH3 from the xxHash library.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace lamina::format {

/// XXH3-64 with seed 0.
std::uint64_t checksum64(std::span<const std::byte> bytes);

/// XXH3-128 with seed 0 in canonical (big-endian) order: the digest of whole small files.
using Digest128 = std::array<std::uint8_t, 16>;
Digest128 digest128(std::span<const std::byte> bytes);

}  // namespace lamina::format
