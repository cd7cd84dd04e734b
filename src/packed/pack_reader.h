// Reads a packed object of which some bytes are at hand: the footer and the index first, then the
// frames that are needed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "base/run.h"
#include "format/trailer.h"
#include "lamina/result.h"
#include "packed/data_key.h"
#include "packed/frame_codec.h"
#include "packed/packed_object.h"

namespace lamina::packed {

/// The object to read, as its reader knows it from elsewhere.
struct ObjectIdentity {
  std::string name{};            ///< a sealed object is bound to it
  std::optional<DataKey> key{};  ///< of a sealed object
  std::string label{};           ///< for messages; empty: the name

  [[nodiscard]] const std::string& shown() const { return label.empty() ? name : label; }
};

/// Where a block is.
struct BlockPlace {
  std::uint32_t frame = 0;
  std::uint32_t block_in_frame = 0;
};

/// The decoded index of an object. Immutable; thread-safe. Frames are decoded by a FrameDecoder of
/// each thread.
class PackReader {
 public:
  /// Opens an object of `object_bytes` bytes with the bytes of its footer and its index
  /// (ObjectFooter::index_range()). kCorrupt: altered, truncated, of an unknown version, or of
  /// another name. kPermission: the object is sealed by another key, or `identity` has none.
  /// kFailed: it has a key, but the object is not sealed.
  static Result<PackReader> open(std::span<const std::byte> footer,
                                 std::span<const std::byte> index, std::uint64_t object_bytes,
                                 ObjectIdentity identity);

  [[nodiscard]] ObjectKind kind() const { return footer_.kind; }
  [[nodiscard]] const ObjectFooter& footer() const { return footer_; }
  /// XXH3-64 of the footer: PackedObject::footer_digest of this very object.
  [[nodiscard]] std::uint64_t footer_digest() const { return footer_digest_; }
  [[nodiscard]] const ObjectIndex& index() const { return index_; }
  [[nodiscard]] std::uint32_t frame_count() const { return footer_.frame_count; }

  /// The frame that has a block of the guest's memory (of a file: of the file); nullopt if the
  /// object does not store it. O(log extents).
  [[nodiscard]] std::optional<BlockPlace> find(std::uint32_t guest_block) const;

  /// The bytes of the object that a frame takes. REQUIRES: frame < frame_count().
  [[nodiscard]] ByteRange frame_range(std::uint32_t frame) const {
    return index_.frames[frame].range();
  }

  /// The stored blocks of a frame: numbers in the order of the extents.
  [[nodiscard]] BlockRun blocks_of(std::uint32_t frame) const;

  /// A decoder for the frames of this object, for one thread.
  [[nodiscard]] Result<FrameDecoder> make_decoder() const;

  /// Decodes the stored bytes of a frame and verifies every block. The errors name the object.
  /// REQUIRES: `decoder` is of this object; `checksums` and `blocks` have the size of blocks_of().
  [[nodiscard]] Status decode(FrameDecoder& decoder, std::uint32_t frame,
                              std::span<const std::byte> stored, std::span<std::uint64_t> checksums,
                              std::span<std::byte> blocks) const;

 private:
  PackReader() = default;

  [[nodiscard]] Status check_identity() const;
  [[nodiscard]] Result<Sealer> make_sealer() const;

  ObjectIdentity identity_;
  ObjectFooter footer_;
  std::uint64_t footer_digest_ = 0;
  ObjectIndex index_;
};

}  // namespace lamina::packed
