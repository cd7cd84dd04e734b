// The trailer at the end of a layer file: what the layer holds, where, and the checksum of every
// block. The bytes are described in docs/format.md.
//
// A layer file is data, then the trailer, block-aligned; the trailer ends with a fixed footer, so
// it is found from the end of the file. A reader that goes by a header's offsets never sees it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "lamina/result.h"
#include "lamina/uuid.h"

namespace lamina::format {

/// How the data part is laid out.
enum class LayerLayout : std::uint32_t {
  kCompact = 1,  ///< the stored blocks back to back in guest order
  kAdopted = 2,  ///< each block at its guest offset: the memory file itself
};

/// A run of guest blocks that the layer stores.
struct StoredExtent {
  std::uint32_t guest_block = 0;
  std::uint32_t block_count = 0;
  std::uint32_t storage_block = 0;  ///< follows from the layout; not in the file
  std::uint32_t checksum_index =
      0;  ///< of its first block; follows from the order; not in the file

  bool operator==(const StoredExtent&) const = default;
};

/// A run of guest blocks.
struct BlockRun {
  std::uint32_t guest_block = 0;
  std::uint32_t block_count = 0;

  bool operator==(const BlockRun&) const = default;
};

struct Trailer {
  Uuid build_id;
  Uuid pause_id;  ///< of the memory state that this layer was published with
  Uuid parent;    ///< the next older layer of the chain; nil when there is none
  std::uint64_t memory_bytes = 0;
  std::uint64_t data_blocks = 0;  ///< the data part is [0, data_blocks) of the file
  LayerLayout layout = LayerLayout::kCompact;
  std::vector<Uuid> chain;     ///< the other layers of the state published with it, oldest first
  std::vector<Uuid> replaces;  ///< for a merge: the layers whose blocks it took over
  std::vector<StoredExtent> extents;  ///< in guest order
  std::vector<BlockRun> zeros;  ///< every block that is zero in the state published with it; joined
  /// XXH3-64 of each stored block, in the order of extents; empty when only the lists were read.
  std::vector<std::uint64_t> checksums;

  /// The blocks that the extents hold. REQUIRES: set_positions() was called, as decoding does.
  [[nodiscard]] std::uint64_t stored_blocks() const {
    if (extents.empty()) return 0;
    return std::uint64_t{extents.back().checksum_index} + extents.back().block_count;
  }

  bool operator==(const Trailer&) const = default;
};

/// Fixed size of the footer that ends every layer file of ours.
inline constexpr std::size_t kFooterBytes = 256;

/// What the footer says about the rest of the trailer.
struct Footer {
  std::uint64_t data_bytes = 0;
  std::uint64_t trailer_bytes = 0;  ///< lists, checksums and footer
  std::uint64_t lists_bytes = 0;    ///< the part before the checksums
  std::uint64_t stored_blocks = 0;  ///< those that have a checksum
};

/// Looks at the last kFooterBytes bytes of a file of `file_bytes` bytes. Nothing when they are no
/// footer (a layer without trailer); kCorrupt when they are one but were altered, are of an unknown
/// version, or do not fit the file's size.
Result<std::optional<Footer>> decode_footer(std::span<const std::byte> footer,
                                            std::uint64_t file_bytes);

/// Decodes the lists of a trailer (all but the checksums of blocks) with its footer, and validates
/// them: their checksum, counts, extents in order and inside memory and data, zeros in order and
/// apart from the extents. Every truncation and every changed byte of the two is kCorrupt.
Result<Trailer> decode_trailer_lists(std::span<const std::byte> lists,
                                     std::span<const std::byte> footer, std::uint64_t file_bytes);

/// The same of a whole trailer, with the checksums of blocks.
Result<Trailer> decode_trailer(std::span<const std::byte> bytes, std::uint64_t file_bytes);

/// Encodes. Storage blocks and checksum indices are not written: set_positions() gives them.
std::vector<std::byte> encode_trailer(const Trailer& trailer);

/// Fills in storage_block and checksum_index of every extent as the layout implies. Returns the
/// number of stored blocks.
std::uint64_t set_positions(Trailer& trailer);

/// The extent that stores `guest_block`, or nullptr. O(log extents).
const StoredExtent* find_stored(const Trailer& trailer, std::uint32_t guest_block);

}  // namespace lamina::format
