// Encodes and decodes the frames of a packed object.
//
//   frame := checksums blocks, sealed or not
//
// The checksums are not compressed, which they do not do, so the blocks are decompressed straight
// to where the caller wants them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "lamina/result.h"
#include "packed/compression.h"
#include "packed/packed_object.h"
#include "packed/seal.h"

namespace lamina::packed {

/// A frame as it is stored.
struct EncodedFrame {
  std::span<const std::byte> bytes;  ///< valid until the next frame is encoded
  Method method = Method::kRaw;
};

/// Not thread-safe.
class FrameEncoder {
 public:
  /// Without `sealer`, frames are not sealed.
  FrameEncoder(Method method, std::uint32_t frame_blocks, std::optional<Sealer> sealer);

  /// Encodes frame `number`, each once. REQUIRES: a checksum for each block; at most frame_blocks.
  Result<EncodedFrame> encode(std::uint64_t number, std::span<const std::uint64_t> checksums,
                              std::span<const std::byte> blocks);

  /// Null if the object is not sealed.
  [[nodiscard]] Sealer* sealer() { return sealer_ ? &*sealer_ : nullptr; }

 private:
  Method method_;
  Compressor compressor_;
  std::optional<Sealer> sealer_;
  std::vector<std::byte> buffer_;
};

/// Not thread-safe.
class FrameDecoder {
 public:
  /// `sealer` of the object; without, frames are not sealed.
  FrameDecoder(std::uint32_t frame_blocks, std::optional<Sealer> sealer);

  /// Decodes the stored bytes of frame `number` into `blocks` and `checksums`, whose sizes say how
  /// many blocks it has, and verifies every block. kCorrupt says what is wrong: the bytes do not
  /// match their digest, cannot be decrypted, do not decompress, or a block does not match its
  /// checksum. Then `blocks` has unspecified contents.
  Status decode(std::uint64_t number, const FrameEntry& entry, std::span<const std::byte> stored,
                std::span<std::uint64_t> checksums, std::span<std::byte> blocks);

 private:
  Result<std::span<const std::byte>> open(std::uint64_t number, const FrameEntry& entry,
                                          std::uint32_t blocks, std::span<const std::byte> stored);

  Decompressor decompressor_;
  std::optional<Sealer> sealer_;
  std::vector<std::byte> plain_;
};

}  // namespace lamina::packed
