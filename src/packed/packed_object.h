// The format of a packed object: a layer, or another file of a snapshot, in frames that can be read
// by ranges. The bytes are described in docs/format.md.
//
//   object := frames index footer
//
// Each frame has a fixed number of consecutive stored blocks (the last one may have fewer): first
// their checksums, then the blocks, compressed by the frame's method; then everything may be
// sealed. The index has all that the layer's trailer has, except for the checksums, and for each
// frame its length, method and digest. It may be sealed too. The footer has a fixed size, and is
// found from the end.
//
// Places follow from the order and are not written: frames lie one behind the other, and frame
// number i has the stored blocks from i * frame_blocks on.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/block.h"
#include "base/run.h"
#include "format/trailer.h"
#include "lamina/result.h"
#include "mapping/extent.h"
#include "packed/compression.h"
#include "packed/seal.h"

namespace lamina::packed {

enum class ObjectKind : std::uint32_t {
  kLayer = 1,
  kFile = 2,  ///< any other file, in blocks of 4096 bytes; holes are not stored
};

inline constexpr std::string_view kObjectMagic = "LAMINAPK";
inline constexpr std::uint32_t kObjectVersion = 1;
inline constexpr std::size_t kObjectFooterBytes = 128;
/// A frame has at most this many blocks, which bounds the memory for one.
inline constexpr std::uint32_t kMaxFrameBlocks = 64;
inline constexpr std::uint32_t kDefaultFrameBlocks = 16;
/// An index is not larger than this: about 1.2 TiB of stored blocks in frames of 16.
inline constexpr std::uint64_t kMaxIndexBytes = std::uint64_t{1} << 28;

/// The bytes of a frame's checksums and blocks before compression and sealing.
constexpr std::size_t plain_frame_bytes(std::uint32_t blocks) {
  return blocks * (sizeof(std::uint64_t) + kBlockBytes);
}

/// The footer: what a reader must know to read the index.
struct ObjectFooter {
  ObjectKind kind = ObjectKind::kLayer;
  std::uint64_t frames_bytes = 0;
  std::uint64_t index_bytes = 0;   ///< as stored, with the tag if sealed
  std::uint64_t index_digest = 0;  ///< XXH3-64 of the stored index
  std::uint32_t frame_count = 0;
  std::uint32_t frame_blocks = 0;
  SealAlgorithm seal = SealAlgorithm::kNone;
  std::uint64_t name_digest = 0;  ///< sealed: XXH3-64 of the object's name
  std::uint64_t key_check = 0;    ///< sealed: DataKey::check_value()

  [[nodiscard]] std::uint64_t object_bytes() const {
    return frames_bytes + index_bytes + kObjectFooterBytes;
  }
  [[nodiscard]] ByteRange index_range() const { return {frames_bytes, index_bytes}; }
  bool operator==(const ObjectFooter&) const = default;
};

std::vector<std::byte> encode_object_footer(const ObjectFooter& footer);

/// Decodes the last kObjectFooterBytes of an object of `object_bytes` bytes. kCorrupt if they are
/// altered, of an unknown version, or describe an object of another size.
Result<ObjectFooter> decode_object_footer(std::span<const std::byte> bytes,
                                          std::uint64_t object_bytes);

/// A frame of an object.
struct FrameEntry {
  std::uint64_t offset = 0;  ///< in the object
  std::uint32_t length = 0;  ///< as stored, with the tag if sealed
  Method method = Method::kRaw;
  std::uint64_t digest = 0;  ///< XXH3-64 of the stored bytes

  [[nodiscard]] ByteRange range() const { return {offset, length}; }
  bool operator==(const FrameEntry&) const = default;
};

/// The decoded index.
struct ObjectIndex {
  // Of a layer.
  format::Trailer trailer;             ///< without the checksums; build id nil: a file
  std::uint64_t checksums_digest = 0;  ///< of the column of all checksums
  std::uint64_t layer_bytes = 0;       ///< of the layer file: data and trailer

  std::uint64_t file_bytes = 0;  ///< of a file
  /// What is stored, and where in the layer or file. checksum_index is the number of the stored
  /// block.
  std::vector<mapping::StoredExtent> extents;
  std::vector<FrameEntry> frames;

  [[nodiscard]] std::uint64_t stored_blocks() const {
    if (extents.empty()) return 0;
    return std::uint64_t{extents.back().checksum_index} + extents.back().block_count;
  }
};

/// Number of frames for that many stored blocks.
constexpr std::uint64_t frames_for(std::uint64_t stored_blocks, std::uint32_t frame_blocks) {
  return (stored_blocks + frame_blocks - 1) / frame_blocks;
}

/// The index of a layer with this encoded trailer (format::encode_trailer(), or as it is at the end
/// of the layer file). kFailed if the index would be larger than kMaxIndexBytes.
Result<std::vector<std::byte>> encode_layer_index(std::span<const std::byte> trailer,
                                                  std::span<const FrameEntry> frames);

/// The index of a file with data in `runs` of blocks, which are in order and not adjacent. Errors
/// as above.
Result<std::vector<std::byte>> encode_file_index(std::uint64_t file_bytes,
                                                 std::span<const BlockRun> runs,
                                                 std::span<const FrameEntry> frames);

/// Decodes an index, after it was opened if it is sealed. kCorrupt if it contradicts itself or the
/// footer. Allocates in proportion to `bytes`.
Result<ObjectIndex> decode_object_index(const ObjectFooter& footer,
                                        std::span<const std::byte> bytes);

/// The stored extents for the data of a file in `runs` of blocks.
std::vector<mapping::StoredExtent> extents_of(std::span<const BlockRun> runs);

}  // namespace lamina::packed
