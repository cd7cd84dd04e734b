#include "packed/aes_gcm.h"

#include <openssl/evp.h>

#include <algorithm>
#include <limits>
#include <new>

#include "base/error.h"

namespace lamina::packed {
namespace {

/// OpenSSL takes lengths as int.
constexpr std::size_t kMaxSealedBytes = static_cast<std::size_t>(std::numeric_limits<int>::max());

const unsigned char* raw(std::span<const std::byte> bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}
unsigned char* raw(std::span<std::byte> bytes) {
  return reinterpret_cast<unsigned char*>(bytes.data());
}

std::unexpected<Error> cipher_failure() {
  return fail(ErrorKind::kFailed, "AES-256-GCM of OpenSSL failed");
}

Status check_length(std::span<const std::byte> data) {
  if (data.size() <= kMaxSealedBytes) return {};
  return fail(ErrorKind::kFailed, "{} bytes cannot be encrypted at once; at most {} can",
              data.size(), kMaxSealedBytes);
}

}  // namespace

void AesGcm::Free::operator()(evp_cipher_ctx_st* context) const { ::EVP_CIPHER_CTX_free(context); }

Result<AesGcm> AesGcm::create(const DataKey& key) {
  Context encryption(::EVP_CIPHER_CTX_new());
  Context decryption(::EVP_CIPHER_CTX_new());
  if (!encryption || !decryption) throw std::bad_alloc();
  // The nonce has the cipher's default length of 12 bytes.
  const EVP_CIPHER* cipher = ::EVP_aes_256_gcm();
  if (::EVP_EncryptInit_ex(encryption.get(), cipher, nullptr, raw(key.bytes()), nullptr) != 1 ||
      ::EVP_DecryptInit_ex(decryption.get(), cipher, nullptr, raw(key.bytes()), nullptr) != 1) {
    return cipher_failure();
  }
  return AesGcm(std::move(encryption), std::move(decryption));
}

Status AesGcm::encrypt(const Nonce& nonce, std::span<const std::byte> associated,
                       std::span<std::byte> data, std::span<std::byte, kTagBytes> tag) {
  LAMINA_RETURN_IF_ERROR(check_length(data));
  EVP_CIPHER_CTX* context = encryption_.get();
  int length = 0;
  const bool done =
      ::EVP_EncryptInit_ex(context, nullptr, nullptr, nullptr, raw(std::span(nonce))) == 1 &&
      ::EVP_EncryptUpdate(context, nullptr, &length, raw(associated),
                          static_cast<int>(associated.size())) == 1 &&
      ::EVP_EncryptUpdate(context, raw(data), &length, raw(data), static_cast<int>(data.size())) ==
          1 &&
      ::EVP_EncryptFinal_ex(context, raw(std::span<std::byte>(tag)), &length) == 1 &&
      ::EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, static_cast<int>(kTagBytes),
                            tag.data()) == 1;
  if (!done) return cipher_failure();
  return {};
}

Result<bool> AesGcm::decrypt(const Nonce& nonce, std::span<const std::byte> associated,
                             std::span<const std::byte> data,
                             std::span<const std::byte, kTagBytes> tag,
                             std::span<std::byte> plain) {
  LAMINA_RETURN_IF_ERROR(check_length(data));
  EVP_CIPHER_CTX* context = decryption_.get();
  std::array<std::byte, kTagBytes> expected{};  // OpenSSL does not take a constant one
  std::copy(tag.begin(), tag.end(), expected.begin());
  std::array<unsigned char, kTagBytes> rest{};  // GCM leaves nothing for the end
  int length = 0;
  const bool prepared =
      ::EVP_DecryptInit_ex(context, nullptr, nullptr, nullptr, raw(std::span(nonce))) == 1 &&
      ::EVP_DecryptUpdate(context, nullptr, &length, raw(associated),
                          static_cast<int>(associated.size())) == 1 &&
      ::EVP_DecryptUpdate(context, raw(plain), &length, raw(data), static_cast<int>(data.size())) ==
          1 &&
      ::EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, static_cast<int>(kTagBytes),
                            expected.data()) == 1;
  if (!prepared) return cipher_failure();
  if (::EVP_DecryptFinal_ex(context, rest.data(), &length) == 1) return true;
  clear_secret(plain);
  return false;
}

}  // namespace lamina::packed
