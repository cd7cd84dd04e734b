// Digests by which blocks are recognised that are elsewhere and cannot be compared byte by byte.
//
// The guest chooses what its disk contains. A checksum such as XXH3 is not enough here: two blocks
// with the same one can be made on purpose, and a guest's user could make a write of another user
// disappear. So these are cryptographic. They cost a pass of SHA-256 over the data.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "format/checksum.h"
#include "lamina/result.h"

extern "C" {
struct evp_md_ctx_st;
struct evp_md_st;
}

namespace lamina::packed {

/// The first 16 bytes of the SHA-256 of a block.
using BlockDigest = format::Digest128;

/// SHA-256, cut to 16 bytes. Not thread-safe.
class Sha256 {
 public:
  /// kFailed if OpenSSL does not have it.
  static Result<Sha256> create();

  /// Begins anew, also after an unfinished message.
  void begin();
  void add(std::span<const std::byte> bytes);
  format::Digest128 finish();

  format::Digest128 of(std::span<const std::byte> bytes) {
    begin();
    add(bytes);
    return finish();
  }

 private:
  struct FreeContext {
    void operator()(evp_md_ctx_st* context) const;
  };
  struct FreeAlgorithm {
    void operator()(evp_md_st* algorithm) const;
  };
  using Context = std::unique_ptr<evp_md_ctx_st, FreeContext>;
  using Algorithm = std::unique_ptr<evp_md_st, FreeAlgorithm>;

  Sha256(Algorithm algorithm, Context context)
      : algorithm_(std::move(algorithm)), context_(std::move(context)) {}

  Algorithm algorithm_;
  Context context_;
};

/// The digest of a file of which the digests of its blocks are known: SHA-256, cut to 16 bytes, of
/// the number (64 bits) and the digest of each block that is not a hole, in order.
class FileDigester {
 public:
  /// As Sha256::create().
  static Result<FileDigester> create();

  void add(std::uint32_t block, const BlockDigest& digest);
  format::Digest128 finish() { return hash_.finish(); }

 private:
  explicit FileDigester(Sha256 hash) : hash_(std::move(hash)) { hash_.begin(); }

  Sha256 hash_;
};

}  // namespace lamina::packed
