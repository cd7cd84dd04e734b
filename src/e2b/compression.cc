#include "e2b/compression.h"

#include <lz4frame.h>
#include <zstd.h>

#include <algorithm>
#include <new>

#include "base/error.h"

namespace lamina::e2b {
namespace {

/// As E2B's default: larger levels cost more than they save.
constexpr int kZstdLevel = 1;
/// How much of a header is decompressed at a time.
constexpr std::size_t kStepBytes = std::size_t{4} << 20;
/// A byte of LZ4 stands for at most so many: one more in the length of a match.
constexpr std::uint64_t kMostLz4Ratio = 255;

std::unexpected<Error> bad_lz4(std::size_t code) {
  return fail(ErrorKind::kCorrupt, "its LZ4 frame is damaged: {}", ::LZ4F_getErrorName(code));
}

std::unexpected<Error> wrong_length(std::uint64_t expected) {
  return fail(ErrorKind::kCorrupt, "it does not decompress to {} bytes", expected);
}

LZ4F_preferences_t preferences(bool is_header) {
  LZ4F_preferences_t chosen{};
  chosen.frameInfo.blockSizeID = LZ4F_max4MB;
  chosen.frameInfo.blockMode = LZ4F_blockIndependent;
  chosen.frameInfo.blockChecksumFlag = LZ4F_blockChecksumEnabled;
  chosen.frameInfo.contentChecksumFlag =
      is_header ? LZ4F_contentChecksumEnabled : LZ4F_noContentChecksum;
  return chosen;
}

Status compress_lz4(std::span<const std::byte> data, const LZ4F_preferences_t& chosen,
                    std::vector<std::byte>& out) {
  out.resize(::LZ4F_compressFrameBound(data.size(), &chosen));
  const std::size_t length =
      ::LZ4F_compressFrame(out.data(), out.size(), data.data(), data.size(), &chosen);
  if (::LZ4F_isError(length) != 0) {
    return fail(ErrorKind::kFailed, "LZ4F_compressFrame: {}", ::LZ4F_getErrorName(length));
  }
  out.resize(length);
  return {};
}

}  // namespace

void FrameDecoder::Free::operator()(ZSTD_DCtx_s* context) const { ::ZSTD_freeDCtx(context); }
void FrameDecoder::Free::operator()(LZ4F_dctx_s* context) const {
  ::LZ4F_freeDecompressionContext(context);
}
void FrameEncoder::Free::operator()(ZSTD_CCtx_s* context) const { ::ZSTD_freeCCtx(context); }

FrameDecoder::FrameDecoder() : zstd_(::ZSTD_createDCtx()) {
  LZ4F_dctx* lz4 = nullptr;
  const std::size_t code = ::LZ4F_createDecompressionContext(&lz4, LZ4F_VERSION);
  lz4_.reset(lz4);
  if (!zstd_ || ::LZ4F_isError(code) != 0) throw std::bad_alloc();
}

Status FrameDecoder::decode(Compression compression, std::span<const std::byte> frame,
                            std::span<std::byte> out) {
  if (compression == Compression::kZstd) return decode_zstd(frame, out);
  return decode_lz4_into(frame, out);
}

Status FrameDecoder::decode_zstd(std::span<const std::byte> frame, std::span<std::byte> out) {
  // ZSTD_decompressDCtx() would also take several frames, and skippable ones.
  const std::size_t length = ::ZSTD_findFrameCompressedSize(frame.data(), frame.size());
  if (::ZSTD_isError(length) != 0) {
    return fail(ErrorKind::kCorrupt, "its zstd frame is damaged: {}", ::ZSTD_getErrorName(length));
  }
  if (length != frame.size()) {
    return fail(ErrorKind::kCorrupt, "its zstd frame ends after {} of {} bytes", length,
                frame.size());
  }
  const std::size_t produced =
      ::ZSTD_decompressDCtx(zstd_.get(), out.data(), out.size(), frame.data(), frame.size());
  if (::ZSTD_isError(produced) != 0) {
    return fail(ErrorKind::kCorrupt, "its zstd frame does not decompress to {} bytes: {}",
                out.size(), ::ZSTD_getErrorName(produced));
  }
  if (produced != out.size()) return wrong_length(out.size());
  return {};
}

Status FrameDecoder::decode_lz4_into(std::span<const std::byte> frame, std::span<std::byte> out) {
  ::LZ4F_resetDecompressionContext(lz4_.get());
  while (true) {
    std::size_t consumed = frame.size();
    // A frame that is longer than it should be is noticed by the end of the frame that is missing.
    std::size_t produced = out.size();
    const std::size_t hint =
        ::LZ4F_decompress(lz4_.get(), out.data(), &produced, frame.data(), &consumed, nullptr);
    if (::LZ4F_isError(hint) != 0) return bad_lz4(hint);
    out = out.subspan(produced);
    frame = frame.subspan(consumed);
    if (hint == 0) break;
    if (consumed == 0 && produced == 0) {
      return fail(ErrorKind::kCorrupt, "its LZ4 frame {}",
                  frame.empty() ? "is cut off" : "decompresses to more than it should");
    }
  }
  if (!frame.empty()) {
    return fail(ErrorKind::kCorrupt, "{} bytes follow its LZ4 frame", frame.size());
  }
  if (!out.empty()) {
    return fail(ErrorKind::kCorrupt, "its LZ4 frame has {} bytes less than it should", out.size());
  }
  return {};
}

Result<std::vector<std::byte>> FrameDecoder::decode_lz4(std::span<const std::byte> frame,
                                                        std::uint64_t data_bytes) {
  if (data_bytes / kMostLz4Ratio > frame.size()) return wrong_length(data_bytes);
  ::LZ4F_resetDecompressionContext(lz4_.get());
  std::vector<std::byte> out;
  std::size_t done = 0;
  while (true) {
    // One byte more than there should be, so that a frame that is too long is noticed.
    if (out.size() - done < kStepBytes) {
      out.resize(std::min<std::uint64_t>(data_bytes + 1, done + 2 * kStepBytes));
    }
    std::size_t consumed = frame.size();
    std::size_t produced = out.size() - done;
    const std::size_t hint = ::LZ4F_decompress(lz4_.get(), out.data() + done, &produced,
                                               frame.data(), &consumed, nullptr);
    if (::LZ4F_isError(hint) != 0) return bad_lz4(hint);
    done += produced;
    frame = frame.subspan(consumed);
    if (done > data_bytes) return wrong_length(data_bytes);
    if (hint == 0) break;
    if (consumed == 0 && produced == 0) {
      return fail(ErrorKind::kCorrupt, "its LZ4 frame is cut off");
    }
  }
  if (!frame.empty()) {
    return fail(ErrorKind::kCorrupt, "{} bytes follow its LZ4 frame", frame.size());
  }
  if (done != data_bytes) return wrong_length(data_bytes);
  out.resize(done);
  return out;
}

FrameEncoder::FrameEncoder(Compression compression) : compression_(compression) {
  if (compression != Compression::kZstd) return;
  zstd_.reset(::ZSTD_createCCtx());
  if (!zstd_) throw std::bad_alloc();
  ::ZSTD_CCtx_setParameter(zstd_.get(), ZSTD_c_compressionLevel, kZstdLevel);
  ::ZSTD_CCtx_setParameter(zstd_.get(), ZSTD_c_checksumFlag, 1);
}

Result<std::span<const std::byte>> FrameEncoder::encode(std::span<const std::byte> data) {
  if (compression_ == Compression::kLz4) {
    LAMINA_RETURN_IF_ERROR(compress_lz4(data, preferences(false), out_));
    return out_;
  }
  out_.resize(::ZSTD_compressBound(data.size()));
  const std::size_t length =
      ::ZSTD_compress2(zstd_.get(), out_.data(), out_.size(), data.data(), data.size());
  if (::ZSTD_isError(length) != 0) {
    return fail(ErrorKind::kFailed, "ZSTD_compress2: {}", ::ZSTD_getErrorName(length));
  }
  return std::span<const std::byte>(out_).first(length);
}

Result<std::vector<std::byte>> encode_header_frame(std::span<const std::byte> block) {
  std::vector<std::byte> out;
  LAMINA_RETURN_IF_ERROR(compress_lz4(block, preferences(true), out));
  return out;
}

}  // namespace lamina::e2b
