// An open layer file: its data, and the trailer with the checksums of the data.
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

/// Whether opening a layer loads its block checksums (8 bytes per stored block). They are only
/// needed to read data. kInFile: they are read from the file with each block, because the layer may
/// still be arriving (store/arrival.h): its file has the final size, and data and checksums are
/// added to it.
enum class Checksums : std::uint8_t { kLoad, kSkip, kInFile };

/// Immutable; thread-safe.
class Layer {
 public:
  /// Opens `name` below `directory` (`path` is for messages) and reads its trailer. If the trailer
  /// is missing: kCorrupt with `expect_trailer`, because the file is truncated; without, the layer
  /// was written by wrenn and its blocks have no checksums. kCorrupt if the trailer is of another
  /// build.
  static Result<Layer> open(int directory, const std::string& name, const std::string& path,
                            const Uuid& build_id, bool expect_trailer,
                            Checksums checksums = Checksums::kLoad);

  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] const Uuid& build_id() const { return build_id_; }
  [[nodiscard]] const os::FileFacts& facts() const { return facts_; }
  [[nodiscard]] std::uint64_t data_blocks() const { return data_blocks_; }
  /// nullopt for a layer written by wrenn.
  [[nodiscard]] const std::optional<format::Trailer>& trailer() const { return trailer_; }
  /// Number of blocks with data. The other blocks of an adopted layer are holes.
  [[nodiscard]] std::uint64_t stored_blocks() const {
    return trailer_ ? trailer_->stored_blocks() : data_blocks_;
  }

  /// Checks that an extent of a header lies inside this layer: inside an extent of the trailer with
  /// the same guest and storage offsets or, without a trailer, inside the data.
  [[nodiscard]] Status check_extent(const mapping::Extent& extent) const;

  /// Reads blocks [storage_block, storage_block + buffer.size() / 4096) without checking them. The
  /// last block of a layer without trailer may be short; it is padded with zeros. REQUIRES: the
  /// extent has been checked.
  [[nodiscard]] Status read_unchecked(std::uint32_t storage_block,
                                      std::span<std::byte> buffer) const;

  /// The checksums of a checked extent or a part of one; empty for a layer without trailer.
  /// REQUIRES: the checksums were loaded. Otherwise the process aborts, because blocks without
  /// checksums are accepted unchecked.
  [[nodiscard]] std::span<const std::uint64_t> checksums(const mapping::Extent& extent) const;

  /// Reads an extent and verifies every block that has a checksum. kCorrupt names the layer and the
  /// offset of the first bad block. REQUIRES: the extent has been checked, and
  /// buffer.size() == extent.block_count * 4096.
  [[nodiscard]] Status read_checked(const mapping::Extent& extent,
                                    std::span<std::byte> buffer) const;

 private:
  Layer() = default;

  [[nodiscard]] Status read_with_checksums_in_file(const mapping::Extent& extent,
                                                   std::span<std::byte> buffer) const;
  [[nodiscard]] Status bad_block(const mapping::Extent& extent, std::size_t number) const;

  os::Fd fd_;
  std::string path_;
  Uuid build_id_;
  os::FileFacts facts_;
  std::uint64_t data_blocks_ = 0;
  std::optional<format::Trailer> trailer_;
};

}  // namespace lamina::engine
