// The digests that object stores and their signatures need, by OpenSSL. Functions that hash throw
// std::bad_alloc if OpenSSL has no memory.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "lamina/result.h"

namespace lamina::object_store {

using Md5 = std::array<std::byte, 16>;
using Sha256 = std::array<std::byte, 32>;

/// kUnsupported if OpenSSL provides no MD5 (FIPS mode). 0.65 GB/s.
Result<Md5> md5_of(std::span<const std::byte> bytes);

Sha256 sha256_of(std::span<const std::byte> bytes);
Sha256 sha256_of(std::string_view text);

/// HMAC-SHA256.
Sha256 hmac_sha256(std::span<const std::byte> key, std::string_view text);

/// Lower-case hexadecimal digits.
std::string hex_of(std::span<const std::byte> bytes);

/// With padding, on one line (RFC 4648).
std::string base64_of(std::span<const std::byte> bytes);

/// `count` random bytes of the kernel as hexadecimal digits, for names that must be unique.
Result<std::string> random_hex(std::size_t count);

}  // namespace lamina::object_store
