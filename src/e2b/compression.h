// The compressed frames of E2B: of data objects (zstd or LZ4) and of headers (LZ4).
//
// Every frame is one whole frame of its format with nothing behind it. Frames of E2B carry
// checksums of their own (zstd: of the contents; LZ4: of the blocks), which are verified.
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
struct LZ4F_dctx_s;
}

namespace lamina::e2b {

/// How a data object is compressed. The values are those of the headers.
enum class Compression : std::uint8_t { kNone = 0, kZstd = 1, kLz4 = 2 };

/// Decompresses frames. Not thread-safe.
class FrameDecoder {
 public:
  /// Throws std::bad_alloc.
  FrameDecoder();

  /// Decompresses the one frame in `frame` to exactly `out`, never beyond it. kCorrupt if it is
  /// damaged, has another length, or if anything follows it.
  [[nodiscard]] Status decode(Compression compression, std::span<const std::byte> frame,
                              std::span<std::byte> out);

  /// Decompresses an LZ4 frame of `data_bytes` bytes. The memory grows with what is decompressed,
  /// so a size that is a lie costs nothing.
  [[nodiscard]] Result<std::vector<std::byte>> decode_lz4(std::span<const std::byte> frame,
                                                          std::uint64_t data_bytes);

 private:
  struct Free {
    void operator()(ZSTD_DCtx_s* context) const;
    void operator()(LZ4F_dctx_s* context) const;
  };

  [[nodiscard]] Status decode_zstd(std::span<const std::byte> frame, std::span<std::byte> out);
  [[nodiscard]] Status decode_lz4_into(std::span<const std::byte> frame, std::span<std::byte> out);

  std::unique_ptr<ZSTD_DCtx_s, Free> zstd_;
  std::unique_ptr<LZ4F_dctx_s, Free> lz4_;
};

/// Compresses frames of data objects. Not thread-safe.
class FrameEncoder {
 public:
  /// Throws std::bad_alloc. REQUIRES: `compression` is not kNone.
  explicit FrameEncoder(Compression compression);

  /// Compresses `data` as one frame. What is returned is valid until the next call.
  [[nodiscard]] Result<std::span<const std::byte>> encode(std::span<const std::byte> data);

 private:
  struct Free {
    void operator()(ZSTD_CCtx_s* context) const;
  };

  Compression compression_;
  std::unique_ptr<ZSTD_CCtx_s, Free> zstd_;
  std::vector<std::byte> out_;
};

/// The LZ4 frame of a header: blocks of up to 4 MiB, with checksums of blocks and contents.
Result<std::vector<std::byte>> encode_header_frame(std::span<const std::byte> block);

}  // namespace lamina::e2b
