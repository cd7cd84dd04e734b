#include "packed/frame_codec.h"

#include <cstring>

#include "base/error.h"
#include "engine/block_scan.h"
#include "format/checksum.h"

namespace lamina::packed {
namespace {

Part frame_part(std::uint64_t number, Method method, std::size_t blocks) {
  return {PartKind::kFrame, number, static_cast<std::uint32_t>(method),
          static_cast<std::uint32_t>(blocks)};
}

}  // namespace

FrameEncoder::FrameEncoder(Method method, std::uint32_t frame_blocks, std::optional<Sealer> sealer)
    : method_(method),
      compressor_(method),
      sealer_(std::move(sealer)),
      buffer_(plain_frame_bytes(frame_blocks) + kTagBytes) {}

Result<EncodedFrame> FrameEncoder::encode(std::uint64_t number,
                                          std::span<const std::uint64_t> checksums,
                                          std::span<const std::byte> blocks) {
  const std::span<std::byte> room = buffer_;
  std::memcpy(room.data(), checksums.data(), checksums.size_bytes());
  const auto data = room.subspan(checksums.size_bytes());
  Method method = method_;
  std::size_t length = compressor_.compress(blocks, data);
  if (length == 0) {
    method = Method::kRaw;
    length = blocks.size();
    std::memcpy(data.data(), blocks.data(), length);
  }
  length += checksums.size_bytes();
  if (sealer_) {
    length += kTagBytes;
    LAMINA_RETURN_IF_ERROR(
        sealer_->seal(frame_part(number, method, checksums.size()), room.first(length)));
  }
  return EncodedFrame{room.first(length), method};
}

FrameDecoder::FrameDecoder(std::uint32_t frame_blocks, std::optional<Sealer> sealer)
    : sealer_(std::move(sealer)) {
  if (sealer_) plain_.resize(plain_frame_bytes(frame_blocks));
}

Result<std::span<const std::byte>> FrameDecoder::open(std::uint64_t number, const FrameEntry& entry,
                                                      std::uint32_t blocks,
                                                      std::span<const std::byte> stored) {
  if (!sealer_) return stored;
  // The index was checked: the length of a frame is bounded by its number of blocks.
  const auto plain = std::span(plain_).first(stored.size() - kTagBytes);
  LAMINA_ASSIGN_OR_RETURN(const bool opened,
                          sealer_->open(frame_part(number, entry.method, blocks), stored, plain));
  if (opened) return std::span<const std::byte>(plain);
  return fail(ErrorKind::kCorrupt,
              "frame {} cannot be decrypted: it was altered, or is another frame", number);
}

Status FrameDecoder::decode(std::uint64_t number, const FrameEntry& entry,
                            std::span<const std::byte> stored, std::span<std::uint64_t> checksums,
                            std::span<std::byte> blocks) {
  if (stored.size() != entry.length) {
    return fail(ErrorKind::kCorrupt, "frame {} has {} bytes, not {}: it is truncated", number,
                stored.size(), entry.length);
  }
  if (format::checksum64(stored) != entry.digest) {
    return fail(ErrorKind::kCorrupt, "frame {} does not match its digest", number);
  }
  const auto count = static_cast<std::uint32_t>(checksums.size());
  LAMINA_ASSIGN_OR_RETURN(const auto plain, open(number, entry, count, stored));
  std::memcpy(checksums.data(), plain.data(), checksums.size_bytes());
  const Status done =
      decompressor_.decompress(entry.method, plain.subspan(checksums.size_bytes()), blocks);
  if (!done) {
    return std::unexpected(with_context(fmt::format("frame {}", number), done.error()));
  }
  for (std::uint32_t i = 0; i < count; ++i) {
    if (engine::block_checksum(blocks.subspan(i * kBlockBytes, kBlockBytes)) != checksums[i]) {
      return fail(ErrorKind::kCorrupt, "block {} of frame {} does not match its checksum", i,
                  number);
    }
  }
  return {};
}

}  // namespace lamina::packed
