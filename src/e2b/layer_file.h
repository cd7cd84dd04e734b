// The layer that an import writes: each block at its guest offset, as in an adopted layer. So
// blocks can come in any order, and blocks of zeros, which E2B stores inside its blocks of 2 MiB,
// are left out as they are found.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/bitmap.h"
#include "base/run.h"
#include "format/trailer.h"
#include "lamina/result.h"
#include "lamina/uuid.h"
#include "mapping/mapping.h"
#include "os/fd.h"

namespace lamina::e2b {

/// Takes 8 bytes for each window of 512 blocks that are expected, and some 4 KiB for each window of
/// which a block is stored: a header that claims blocks which do not come, or are zeros, takes no
/// memory in proportion to them. Not thread-safe.
class LayerFile {
 public:
  /// Makes `name` in `directory`. `runs` are the blocks that will come, in guest order; they are
  /// numbered from 0.
  static Result<LayerFile> create(int directory, const std::string& name, const std::string& path,
                                  std::uint64_t memory_bytes, std::vector<BlockRun> runs);

  /// Writes whole blocks to `guest_block` and on. `number` is the number of the first. Beyond the
  /// end of the memory zeros are stored. REQUIRES: they are in `runs`.
  Status put(std::uint32_t guest_block, std::uint64_t number, std::span<const std::byte> blocks);

  /// What is stored, once all blocks have come: `runs` without the zeros.
  [[nodiscard]] std::vector<mapping::StoredExtent> stored_extents() const;
  [[nodiscard]] std::uint64_t stored_blocks() const { return stored_blocks_; }
  [[nodiscard]] std::uint64_t zero_blocks() const { return zero_blocks_; }

  /// Writes the trailer, with the checksums, and syncs the file. The trailer's extents are
  /// stored_extents(), its layout and positions are set here. REQUIRES: called once, at the end.
  Status finish(format::Trailer trailer);

 private:
  static constexpr std::size_t kWindowBlocks = 512;
  /// By number within the window.
  struct Window {
    std::array<std::uint64_t, kWindowBlocks> checksums{};
    std::array<std::uint64_t, kWindowBlocks / kBitsPerWord> stored{};  ///< bits
  };

  LayerFile() = default;

  [[nodiscard]] bool is_stored(std::uint64_t number) const;
  void note(std::uint64_t number, std::uint64_t checksum);
  Status put_last(std::uint32_t guest_block, std::uint64_t number,
                  std::span<const std::byte> block);
  Status write_run(std::uint32_t guest_block, std::span<const std::byte> blocks);

  os::Fd file_;
  std::string path_;
  std::uint64_t memory_bytes_ = 0;
  std::vector<BlockRun> runs_;
  std::vector<std::unique_ptr<Window>> windows_;  ///< by number / kWindowBlocks; null: nothing
  std::uint64_t stored_blocks_ = 0;
  std::uint64_t zero_blocks_ = 0;
};

}  // namespace lamina::e2b
