// The trailer at the end of a layer file: which blocks the layer stores, where, and their
// checksums. The bytes are described in docs/format.md.
//
// A layer file consists of the data, whole blocks, and the trailer. The trailer ends with a footer
// of fixed size, so it is found from the end of the file. A reader that only follows a header's
// offsets never sees it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/run.h"
#include "lamina/result.h"
#include "lamina/uuid.h"
#include "mapping/extent.h"

namespace lamina::format {

/// How the data part is laid out.
enum class LayerLayout : std::uint32_t {
  kCompact = 1,  ///< the stored blocks one after the other, in guest order
  kAdopted = 2,  ///< each block at its guest offset: the file is the memory file itself
};

struct Trailer {
  Uuid build_id;
  Uuid pause_id;  ///< of the state that this layer was published with
  Uuid parent;    ///< the next older layer of the chain; nil if there is none
  std::uint64_t memory_bytes = 0;
  std::uint64_t data_blocks = 0;  ///< the data part is [0, data_blocks) of the file
  LayerLayout layout = LayerLayout::kCompact;
  std::vector<Uuid> chain;     ///< the other layers of that state, oldest first
  std::vector<Uuid> replaces;  ///< of a merged layer: the layers that were merged into it
  std::vector<mapping::StoredExtent> extents;  ///< in guest order
  std::vector<BlockRun> zeros;  ///< every block that is zero in that state, as joined runs
  /// XXH3-64 of each stored block, in the order of extents; empty if only the lists were read.
  std::vector<std::uint64_t> checksums;

  /// Number of stored blocks. REQUIRES: set_positions() was called; decoding calls it.
  [[nodiscard]] std::uint64_t stored_blocks() const {
    if (extents.empty()) return 0;
    return std::uint64_t{extents.back().checksum_index} + extents.back().block_count;
  }

  bool operator==(const Trailer&) const = default;
};

/// Size of the footer at the end of every layer file with a trailer.
inline constexpr std::size_t kFooterBytes = 256;

/// Sizes from the footer.
struct Footer {
  std::uint64_t data_bytes = 0;
  std::uint64_t trailer_bytes = 0;  ///< lists, checksums and footer
  std::uint64_t lists_bytes = 0;    ///< the part before the checksums
  std::uint64_t stored_blocks = 0;  ///< number of block checksums
};

/// Decodes the last kFooterBytes bytes of a file of `file_bytes` bytes. nullopt if they are not a
/// footer (a layer without trailer). kCorrupt if the footer was altered, has an unknown version, or
/// does not match the file size.
Result<std::optional<Footer>> decode_footer(std::span<const std::byte> footer,
                                            std::uint64_t file_bytes);

/// Decodes the lists of a trailer (everything but the block checksums) with its footer. Validates
/// checksum and counts, that extents are in order and inside memory and data, and that zeros are in
/// order and disjoint from the extents. Every truncation and every changed byte is kCorrupt.
Result<Trailer> decode_trailer_lists(std::span<const std::byte> lists,
                                     std::span<const std::byte> footer, std::uint64_t file_bytes);

/// The same for a whole trailer, with the block checksums.
Result<Trailer> decode_trailer(std::span<const std::byte> bytes, std::uint64_t file_bytes);

/// Encodes. Storage blocks and checksum indices are not stored; set_positions() derives them.
std::vector<std::byte> encode_trailer(const Trailer& trailer);

/// The parts of a trailer before and after the block checksums.
struct TrailerEnds {
  std::vector<std::byte> lists;
  std::vector<std::byte> footer;
};

/// The same parts for a layer whose block checksums are not known yet, only the digest of all of
/// them (XXH3-64). `trailer.checksums` is not used.
TrailerEnds encode_trailer_ends(const Trailer& trailer, std::uint64_t checksums_digest);

/// Derives storage_block and checksum_index of every extent from the layout. Returns the number of
/// stored blocks.
std::uint64_t set_positions(Trailer& trailer);

/// The extent that stores `guest_block`; nullptr if there is none. O(log extents).
const mapping::StoredExtent* find_stored(const Trailer& trailer, std::uint32_t guest_block);

}  // namespace lamina::format
