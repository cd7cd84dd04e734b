// SHA-256 of a stream, by OpenSSL.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

extern "C" {
struct evp_md_ctx_st;
}

namespace lamina::e2b {

/// Not thread-safe. Its functions throw std::bad_alloc if OpenSSL has no memory.
class Sha256Stream {
 public:
  Sha256Stream();

  void add(std::span<const std::byte> bytes);
  /// The digest of all bytes. REQUIRES: called once, and nothing is added afterwards.
  [[nodiscard]] std::array<std::uint8_t, 32> finish();

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const;
  };

  std::unique_ptr<evp_md_ctx_st, Free> context_;
};

}  // namespace lamina::e2b
