#include "e2b/sha256.h"

#include <openssl/evp.h>

#include <new>

namespace lamina::e2b {

void Sha256Stream::Free::operator()(evp_md_ctx_st* context) const { ::EVP_MD_CTX_free(context); }

Sha256Stream::Sha256Stream() : context_(::EVP_MD_CTX_new()) {
  if (!context_ || ::EVP_DigestInit_ex(context_.get(), ::EVP_sha256(), nullptr) != 1) {
    throw std::bad_alloc();
  }
}

void Sha256Stream::add(std::span<const std::byte> bytes) {
  if (::EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) != 1) throw std::bad_alloc();
}

std::array<std::uint8_t, 32> Sha256Stream::finish() {
  std::array<std::uint8_t, 32> digest{};
  if (::EVP_DigestFinal_ex(context_.get(), digest.data(), nullptr) != 1) throw std::bad_alloc();
  return digest;
}

}  // namespace lamina::e2b
