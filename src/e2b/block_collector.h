// Puts the bytes of a data object where the guest has them.
//
// An object is read once, from the beginning to the end. Its bytes come in frames, whose ends need
// not be the ends of blocks. Several runs of the guest may be the same blocks of the object.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "e2b/layer_file.h"
#include "lamina/progress.h"
#include "lamina/result.h"

namespace lamina::e2b {

/// A run of blocks of an object, and where it goes.
struct Piece {
  std::uint32_t storage_block = 0;
  std::uint32_t block_count = 0;
  std::uint32_t guest_block = 0;
  std::uint32_t number = 0;  ///< of the first block in the layer (LayerFile)

  [[nodiscard]] std::uint64_t storage_end() const {
    return std::uint64_t{storage_block} + block_count;
  }
};

/// Not thread-safe.
class BlockCollector {
 public:
  /// `pieces` are sorted by their storage block, and must outlive this. An object of `data_bytes`
  /// may end within a block only if that is the last of the memory, as far as the memory goes.
  BlockCollector(std::span<const Piece> pieces, LayerFile& layer, std::uint64_t memory_bytes,
                 std::uint64_t data_bytes, Progress* progress);

  /// kCorrupt: the pieces are not all inside the data.
  [[nodiscard]] Status check() const;

  /// True if a piece has bytes in [offset, end). REQUIRES: the ranges ascend.
  [[nodiscard]] bool is_needed(std::uint64_t offset, std::uint64_t end);

  /// Takes bytes of the object. REQUIRES: the offsets ascend.
  [[nodiscard]] Status take(std::uint64_t offset, std::span<const std::byte> bytes);

  /// Takes a last block that is not whole. kCorrupt: there were no bytes for some piece.
  [[nodiscard]] Status finish();

 private:
  struct Active {
    std::size_t piece = 0;
    std::uint32_t done = 0;  ///< blocks
  };

  Status take_blocks(std::uint64_t first, std::span<const std::byte> blocks);
  Status put_active(Active& active, std::uint64_t first, std::span<const std::byte> blocks);
  [[nodiscard]] static std::unexpected<Error> missing(std::uint64_t block);

  std::span<const Piece> pieces_;
  LayerFile& layer_;
  std::uint64_t memory_bytes_;
  std::uint64_t data_bytes_;
  Progress* progress_;
  std::size_t next_needed_ = 0;       ///< the first piece that is_needed() has not passed
  std::uint64_t needed_end_ = 0;      ///< the furthest end of the pieces before it, in bytes
  std::size_t next_ = 0;              ///< the first piece that is not active yet
  std::vector<Active> active_;        ///< begun, and not complete
  std::vector<std::byte> partial_;    ///< the beginning of a block
  std::uint64_t partial_offset_ = 0;  ///< of that block
};

}  // namespace lamina::e2b
