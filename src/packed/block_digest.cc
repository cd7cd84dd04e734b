#include "packed/block_digest.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <new>

#include "base/bytes.h"
#include "base/error.h"

namespace lamina::packed {
namespace {

/// The calls of an algorithm that is there fail only without memory.
void require_done(int done) {
  if (done != 1) throw std::bad_alloc();
}

}  // namespace

void Sha256::FreeContext::operator()(evp_md_ctx_st* context) const { ::EVP_MD_CTX_free(context); }
void Sha256::FreeAlgorithm::operator()(evp_md_st* algorithm) const { ::EVP_MD_free(algorithm); }

Result<Sha256> Sha256::create() {
  // Fetched once: EVP_sha256() would be looked up again for each block.
  Algorithm algorithm(::EVP_MD_fetch(nullptr, "SHA256", nullptr));
  if (!algorithm) return fail(ErrorKind::kFailed, "OpenSSL does not have SHA-256");
  Context context(::EVP_MD_CTX_new());
  if (!context) throw std::bad_alloc();
  return Sha256(std::move(algorithm), std::move(context));
}

void Sha256::begin() {
  require_done(::EVP_DigestInit_ex(context_.get(), algorithm_.get(), nullptr));
}

void Sha256::add(std::span<const std::byte> bytes) {
  require_done(::EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()));
}

format::Digest128 Sha256::finish() {
  std::array<unsigned char, 32> whole{};
  require_done(::EVP_DigestFinal_ex(context_.get(), whole.data(), nullptr));
  format::Digest128 digest{};
  std::copy_n(whole.begin(), digest.size(), digest.begin());
  return digest;
}

Result<FileDigester> FileDigester::create() {
  LAMINA_ASSIGN_OR_RETURN(Sha256 hash, Sha256::create());
  return FileDigester(std::move(hash));
}

void FileDigester::add(std::uint32_t block, const BlockDigest& digest) {
  ByteWriter writer(sizeof(std::uint64_t) + digest.size());
  writer.put(std::uint64_t{block});
  writer.put_bytes(std::as_bytes(std::span(digest)));
  hash_.add(writer.view());
}

}  // namespace lamina::packed
