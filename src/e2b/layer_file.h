// The layer that an import writes: each block at its guest offset, as in an adopted layer. So
// blocks can come in any order, and blocks of zeros, which E2B stores inside its blocks of 2 MiB,
// are left out as they are found.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/run.h"
#include "format/trailer.h"
#include "lamina/result.h"
#include "lamina/uuid.h"
#include "mapping/mapping.h"
#include "os/fd.h"

namespace lamina::e2b {

/// Takes 8 bytes and a bit for each block that is expected. Not thread-safe.
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
  /// stored_extents(), its layout and positions are set here.
  Status finish(format::Trailer trailer);

 private:
  LayerFile() = default;

  Status put_last(std::uint32_t guest_block, std::uint64_t number,
                  std::span<const std::byte> block);
  Status write_run(std::uint32_t guest_block, std::span<const std::byte> blocks);

  os::Fd file_;
  std::string path_;
  std::uint64_t memory_bytes_ = 0;
  std::vector<BlockRun> runs_;
  std::vector<std::uint64_t> checksums_;  ///< by number
  std::vector<std::uint64_t> data_;       ///< bits by number: the block came, and is not zero
  std::uint64_t stored_blocks_ = 0;
  std::uint64_t zero_blocks_ = 0;
};

}  // namespace lamina::e2b
