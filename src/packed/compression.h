// Compression of the blocks of one frame.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "lamina/result.h"

extern "C" {
struct ZSTD_CCtx_s;
struct ZSTD_DCtx_s;
}

namespace lamina::packed {

/// How the blocks of a frame are stored. The values are those of the format.
enum class Method : std::uint8_t {
  kRaw = 0,   ///< as they are
  kZstd = 1,  ///< one zstd frame
  kLz4 = 2,   ///< one lz4 block
};

inline constexpr std::uint8_t kLastMethod = 2;

/// Compresses frames by one method. Not thread-safe.
class Compressor {
 public:
  /// Throws std::bad_alloc.
  explicit Compressor(Method method);

  /// Compresses `blocks` into `out`, and returns the number of bytes there. 0 if it does not pay:
  /// the result would not be smaller by a 32nd. REQUIRES: out.size() >= blocks.size().
  [[nodiscard]] std::size_t compress(std::span<const std::byte> blocks, std::span<std::byte> out);

 private:
  struct Free {
    void operator()(ZSTD_CCtx_s* context) const;
  };

  Method method_;
  std::unique_ptr<ZSTD_CCtx_s, Free> zstd_;
  std::vector<std::uint64_t> lz4_state_;
};

/// Decompresses frames of all methods. Not thread-safe.
class Decompressor {
 public:
  /// Throws std::bad_alloc.
  Decompressor();

  /// Decompresses `stored` to exactly `blocks`, never beyond it. kCorrupt if the result has another
  /// length or `stored` is damaged.
  [[nodiscard]] Status decompress(Method method, std::span<const std::byte> stored,
                                  std::span<std::byte> blocks);

 private:
  struct Free {
    void operator()(ZSTD_DCtx_s* context) const;
  };

  std::unique_ptr<ZSTD_DCtx_s, Free> zstd_;
};

}  // namespace lamina::packed
