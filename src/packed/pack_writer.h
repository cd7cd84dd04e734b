// Writes a packed object, in order and in bounded memory, so that an upload needs no file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/run.h"
#include "format/trailer.h"
#include "lamina/result.h"
#include "packed/data_key.h"
#include "packed/frame_codec.h"
#include "packed/packed_object.h"

namespace lamina::packed {

/// Takes the bytes of an object, in order. The span is valid during the call. An error ends the
/// writing.
using Sink = std::function<Status(std::span<const std::byte>)>;

/// How an object is packed.
struct PackSettings {
  Method method = Method::kZstd;
  std::uint32_t frame_blocks = kDefaultFrameBlocks;  ///< 1 to kMaxFrameBlocks
  std::string name{};                                ///< of the object; a seal is bound to it
  std::optional<DataKey> key{};  ///< seals the object. A new one for each object and each attempt
};

/// An object that was written.
struct PackedObject {
  ObjectFooter footer;
  std::uint64_t footer_digest = 0;  ///< XXH3-64 of the encoded footer: names this very object
};

/// Writes one object: frames, index, footer. Not thread-safe.
class PackWriter {
 public:
  /// Packs a layer with this trailer, which has its checksums.
  static Result<PackWriter> for_layer(const format::Trailer& trailer, const PackSettings& settings,
                                      Sink sink);

  /// Packs a file of `file_bytes` with data in `runs` of blocks, which are in order, not adjacent,
  /// and inside the file. The checksums are computed from what is added.
  static Result<PackWriter> for_file(std::uint64_t file_bytes, std::vector<BlockRun> runs,
                                     const PackSettings& settings, Sink sink);

  /// Adds the next stored blocks, in the order of the extents. kCorrupt: a block of a layer does
  /// not match its checksum. kFailed: more blocks than the extents have, or any error of the sink.
  Status add(std::span<const std::byte> blocks);

  /// Writes index and footer. kFailed: blocks are missing.
  Result<PackedObject> finish();

 private:
  PackWriter(ObjectFooter footer, FrameEncoder encoder, Sink sink)
      : footer_(footer), encoder_(std::move(encoder)), sink_(std::move(sink)) {}

  static Result<PackWriter> create(ObjectKind kind, std::uint64_t stored_blocks,
                                   const PackSettings& settings, Sink sink);
  Status add_frame(std::span<const std::byte> blocks);
  [[nodiscard]] Result<std::span<const std::uint64_t>> checksums_of(
      std::span<const std::byte> blocks);
  [[nodiscard]] Result<std::vector<std::byte>> encode_index() const;

  ObjectFooter footer_;
  FrameEncoder encoder_;
  Sink sink_;
  std::uint64_t stored_blocks_ = 0;
  std::uint64_t added_blocks_ = 0;  ///< in frames that were written
  std::vector<std::byte> pending_;  ///< the blocks of the next frame that were added
  std::vector<FrameEntry> frames_;
  // Of a layer.
  std::vector<std::byte> trailer_;        ///< encoded
  std::vector<std::uint64_t> checksums_;  ///< of all blocks; of a file: of the frame at hand
  // Of a file.
  std::uint64_t file_bytes_ = 0;
  std::vector<BlockRun> runs_;
};

}  // namespace lamina::packed
