// An open layer file: its data, and the trailer that says what the data must be.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "format/trailer.h"
#include "lamina/result.h"
#include "lamina/uuid.h"
#include "mapping/mapping.h"
#include "os/fd.h"
#include "os/file.h"

namespace lamina::engine {

/// Whether the checksums of a layer's blocks are read when it is opened: 8 bytes for each stored
/// block, which who reads no data does not need.
enum class Checksums : std::uint8_t { kLoad, kSkip };

/// Immutable once opened; thread-safe for readers.
class Layer {
 public:
  /// Opens `name` below `directory` (`path` is for messages) and reads its trailer. With
  /// `expect_trailer` a layer without one is kCorrupt: it was cut. Without, it is a layer of the
  /// original program, whose blocks have no checksums. A trailer of another build is kCorrupt.
  static Result<Layer> open(int directory, const std::string& name, const std::string& path,
                            const Uuid& build_id, bool expect_trailer,
                            Checksums checksums = Checksums::kLoad);

  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] const Uuid& build_id() const { return build_id_; }
  [[nodiscard]] const os::FileFacts& facts() const { return facts_; }
  [[nodiscard]] std::uint64_t data_blocks() const { return data_blocks_; }
  /// Nothing for a layer of the original.
  [[nodiscard]] const std::optional<format::Trailer>& trailer() const { return trailer_; }
  /// Blocks of data that mean something; the rest of an adopted layer is holes.
  [[nodiscard]] std::uint64_t stored_blocks() const {
    return trailer_ ? trailer_->stored_blocks() : data_blocks_;
  }

  /// Checks that an extent of a header lies inside this layer: in an extent that the trailer lists
  /// with the same guest offset for the same storage offset, or, without a trailer, in the data.
  [[nodiscard]] Status check_extent(const mapping::Extent& extent) const;

  /// Reads the blocks of a run, [extent.storage_block, + buffer.size() / 4096), without checking
  /// them. The last block of a layer without trailer may be short in the file; it is padded with
  /// zeros. REQUIRES: the extent has been checked.
  [[nodiscard]] Status read_unchecked(std::uint32_t storage_block,
                                      std::span<std::byte> buffer) const;

  /// The checksums that belong to a run of a checked extent; empty for a layer without trailer.
  /// REQUIRES: they were loaded; the process ends when they were not, for what has none is taken as
  /// it is.
  [[nodiscard]] std::span<const std::uint64_t> checksums(const mapping::Extent& extent) const;

  /// Reads a run and checks every block against its checksum, if it has one. kCorrupt names the
  /// layer and the offset of the first wrong block. REQUIRES: the extent has been checked and
  /// buffer.size() == extent.block_count * 4096.
  [[nodiscard]] Status read_checked(const mapping::Extent& extent,
                                    std::span<std::byte> buffer) const;

 private:
  Layer() = default;

  os::Fd fd_;
  std::string path_;
  Uuid build_id_;
  os::FileFacts facts_;
  std::uint64_t data_blocks_ = 0;
  std::optional<format::Trailer> trailer_;
};

}  // namespace lamina::engine
