#include "object_store/digest.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <cstdint>
#include <new>
#include <vector>

#include "base/error.h"

namespace lamina::object_store {
namespace {

unsigned char* as_octets(std::span<std::byte> bytes) {
  return reinterpret_cast<unsigned char*>(bytes.data());
}

const unsigned char* as_const_octets(std::span<const std::byte> bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}

}  // namespace

Result<Md5> md5_of(std::span<const std::byte> bytes) {
  Md5 digest{};
  if (::EVP_Digest(bytes.data(), bytes.size(), as_octets(digest), nullptr, ::EVP_md5(), nullptr) !=
      1) {
    return with_remedy(fail(ErrorKind::kUnsupported, "OpenSSL provides no MD5"),
                       "object stores check uploads by it: run without FIPS mode");
  }
  return digest;
}

Sha256 sha256_of(std::span<const std::byte> bytes) {
  Sha256 digest{};
  if (::EVP_Digest(bytes.data(), bytes.size(), as_octets(digest), nullptr, ::EVP_sha256(),
                   nullptr) != 1) {
    throw std::bad_alloc();
  }
  return digest;
}

Sha256 sha256_of(std::string_view text) { return sha256_of(std::as_bytes(std::span(text))); }

Sha256 hmac_sha256(std::span<const std::byte> key, std::string_view text) {
  Sha256 digest{};
  const auto message = std::as_bytes(std::span(text));
  if (::HMAC(::EVP_sha256(), key.data(), static_cast<int>(key.size()), as_const_octets(message),
             message.size(), as_octets(digest), nullptr) == nullptr) {
    throw std::bad_alloc();
  }
  return digest;
}

std::string hex_of(std::span<const std::byte> bytes) {
  static constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const std::byte byte : bytes) {
    const auto value = std::to_integer<unsigned>(byte);
    text += kDigits[value >> 4U];
    text += kDigits[value & 15U];
  }
  return text;
}

std::string base64_of(std::span<const std::byte> bytes) {
  // EVP_EncodeBlock() adds a NUL.
  std::vector<unsigned char> text((bytes.size() + 2) / 3 * 4 + 1);
  const int length =
      ::EVP_EncodeBlock(text.data(), as_const_octets(bytes), static_cast<int>(bytes.size()));
  return {text.begin(), text.begin() + length};
}

Result<std::string> random_hex(std::size_t count) {
  std::vector<std::byte> bytes(count);
  if (::RAND_bytes(as_octets(std::span(bytes)), static_cast<int>(count)) != 1) {
    return fail(ErrorKind::kFailed, "OpenSSL has no random bytes");
  }
  return hex_of(bytes);
}

}  // namespace lamina::object_store
