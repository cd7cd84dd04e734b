#include "packed/compression.h"

#include <lz4.h>
#include <zstd.h>

#include <cstring>
#include <new>

#include "base/error.h"

namespace lamina::packed {
namespace {

/// Guest memory compresses by a factor of 2.7 at level 1, and of 2.8 at level 3, which takes half
/// as long again.
constexpr int kZstdLevel = 1;
/// The speed of LZ4_compress_default().
constexpr int kLz4Acceleration = 1;
/// A frame is stored compressed only if that saves this part of it.
constexpr std::size_t kWorthwhileShare = 32;

const char* chars(std::span<const std::byte> bytes) {
  return reinterpret_cast<const char*>(bytes.data());
}
char* chars(std::span<std::byte> bytes) { return reinterpret_cast<char*>(bytes.data()); }

std::size_t decompress_lz4(std::span<const std::byte> stored, std::span<std::byte> blocks) {
  const int length =
      ::LZ4_decompress_safe(chars(stored), chars(blocks), static_cast<int>(stored.size()),
                            static_cast<int>(blocks.size()));
  return length < 0 ? 0 : static_cast<std::size_t>(length);
}

}  // namespace

void Compressor::Free::operator()(ZSTD_CCtx_s* context) const { ::ZSTD_freeCCtx(context); }
void Decompressor::Free::operator()(ZSTD_DCtx_s* context) const { ::ZSTD_freeDCtx(context); }

Compressor::Compressor(Method method) : method_(method) {
  if (method == Method::kLz4) {
    lz4_state_.resize(static_cast<std::size_t>(::LZ4_sizeofState()) / sizeof(std::uint64_t) + 1);
  }
  if (method != Method::kZstd) return;
  zstd_.reset(::ZSTD_createCCtx());
  if (!zstd_) throw std::bad_alloc();
  ::ZSTD_CCtx_setParameter(zstd_.get(), ZSTD_c_compressionLevel, kZstdLevel);
  // The reader knows the size, and has a checksum of every block.
  ::ZSTD_CCtx_setParameter(zstd_.get(), ZSTD_c_contentSizeFlag, 0);
}

std::size_t Compressor::compress(std::span<const std::byte> blocks, std::span<std::byte> out) {
  // Both libraries give up at the end of the output.
  const auto room = out.first(blocks.size() - blocks.size() / kWorthwhileShare);
  if (method_ == Method::kZstd) {
    const std::size_t length =
        ::ZSTD_compress2(zstd_.get(), room.data(), room.size(), blocks.data(), blocks.size());
    return ::ZSTD_isError(length) != 0 ? 0 : length;
  }
  if (method_ == Method::kLz4) {
    const int length = ::LZ4_compress_fast_extState(
        lz4_state_.data(), chars(blocks), chars(room), static_cast<int>(blocks.size()),
        static_cast<int>(room.size()), kLz4Acceleration);
    return static_cast<std::size_t>(length);
  }
  return 0;
}

Decompressor::Decompressor() : zstd_(::ZSTD_createDCtx()) {
  if (!zstd_) throw std::bad_alloc();
}

Status Decompressor::decompress(Method method, std::span<const std::byte> stored,
                                std::span<std::byte> blocks) {
  std::size_t length = 0;
  switch (method) {
    case Method::kRaw:
      length = stored.size();
      if (length == blocks.size()) std::memcpy(blocks.data(), stored.data(), length);
      break;
    case Method::kZstd:
      length = ::ZSTD_decompressDCtx(zstd_.get(), blocks.data(), blocks.size(), stored.data(),
                                     stored.size());
      if (::ZSTD_isError(length) != 0) length = 0;
      break;
    case Method::kLz4:
      length = decompress_lz4(stored, blocks);
      break;
  }
  if (length == blocks.size()) return {};
  return fail(ErrorKind::kCorrupt, "{} bytes do not decompress to {}", stored.size(),
              blocks.size());
}

}  // namespace lamina::packed
