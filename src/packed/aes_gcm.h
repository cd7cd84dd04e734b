// AES-256-GCM of OpenSSL.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <span>

#include "lamina/result.h"
#include "packed/data_key.h"

extern "C" {
struct evp_cipher_ctx_st;
}

namespace lamina::packed {

inline constexpr std::size_t kNonceBytes = 12;
inline constexpr std::size_t kTagBytes = 16;
using Nonce = std::array<std::byte, kNonceBytes>;

/// Encrypts and decrypts with one key. Not thread-safe.
class AesGcm {
 public:
  /// kFailed if OpenSSL does not have the cipher.
  static Result<AesGcm> create(const DataKey& key);

  /// Encrypts `data` in place, and writes the tag of it and of `associated` to `tag`. REQUIRES: no
  /// two calls with one key have the same nonce and different data.
  Status encrypt(const Nonce& nonce, std::span<const std::byte> associated,
                 std::span<std::byte> data, std::span<std::byte, kTagBytes> tag);

  /// Decrypts `data` into `plain`, which has the same size. False if the tag is not that of `data`
  /// and `associated`; then `plain` is cleared.
  Result<bool> decrypt(const Nonce& nonce, std::span<const std::byte> associated,
                       std::span<const std::byte> data, std::span<const std::byte, kTagBytes> tag,
                       std::span<std::byte> plain);

 private:
  struct Free {
    void operator()(evp_cipher_ctx_st* context) const;
  };
  using Context = std::unique_ptr<evp_cipher_ctx_st, Free>;

  AesGcm(Context encryption, Context decryption)
      : encryption_(std::move(encryption)), decryption_(std::move(decryption)) {}

  Context encryption_;
  Context decryption_;
};

}  // namespace lamina::packed
