// A portion of a populate plan: the unit that is read, verified and copied at once.
//
// The thread that owns a VM plans a portion; PlanReader reads its data into the portion's buffer
// and verifies it; the owner copies from the same buffer. The guest may give blocks back between
// plan and copy, so the owner checks every block again when it copies: a portion holds the
// snapshot's contents, whether or not they are still needed.
//
// A portion covers a range of positions in the plan. It is filled in less than a millisecond, so
// its order does not matter: pieces are sorted in guest order, and adjacent ones are joined. So
// runs that a resume touched in ascending, descending or scattered order in one area are filled by
// one ioctl.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/run.h"
#include "engine/chain.h"
#include "lamina/result.h"
#include "pager/regions.h"

namespace lamina::pager {

/// Capacity of a portion: blocks of data in its buffer, and pieces.
inline constexpr std::uint32_t kPortionBlocks = 512;
inline constexpr std::uint32_t kPortionPieces = 512;

/// A run of blocks of one kind, zeros or data, inside one region. A 2 MiB page is one piece of
/// data.
struct Piece : BlockRun {
  bool zero = false;
  std::uint32_t buffer_block = 0;  ///< position of its data in the portion's buffer

  bool operator==(const Piece&) const = default;
};

// NOLINTNEXTLINE(performance-enum-size): futexes need an int.
enum class PortionState : int {
  kFree,     ///< owner's: empty, or not to be read ahead
  kPosted,   ///< queued for reading; the owner may reclaim it
  kReading,  ///< reader's
  kRead,     ///< owner's: every block was read and verified
  kFailed,   ///< owner's: a block could not be read or is corrupt
};

/// The state determines which thread may use the other fields.
struct Portion {
  std::atomic<PortionState> state = PortionState::kFree;
  std::atomic<std::uint64_t> number = 0;  ///< portions are read in the order of their numbers
  const engine::Chain* chain = nullptr;
  std::span<std::byte> buffer;  ///< kPortionBlocks blocks; empty if nothing is read ahead
  std::array<Piece, kPortionPieces> pieces{};
  std::uint32_t piece_count = 0;
  std::uint64_t plan_blocks = 0;   ///< blocks of the plan, including those that are not filled
  std::uint64_t end_position = 0;  ///< position in the plan after this portion; see Populator
  // The next block to fill.
  std::uint32_t next_piece = 0;
  std::uint32_t next_block = 0;  ///< within that piece

  [[nodiscard]] std::span<Piece> planned() { return std::span(pieces).first(piece_count); }
  [[nodiscard]] std::span<const Piece> planned() const {
    return std::span(pieces).first(piece_count);
  }
  void clear();
};

/// Sorts the pieces in guest order, joins adjacent or overlapping ones of the same kind and region,
/// assigns their positions in the buffer, and returns the new number of pieces. Does not allocate.
std::uint32_t join_pieces(std::span<Piece> pieces, const RegionTable& regions);

/// Reads a portion's data into its buffer and verifies it. Bytes of the last 2 MiB page that are
/// past the end of the memory become zeros. Does not retry; the owner does if it needs the data.
Status read_portion(const Portion& portion);

}  // namespace lamina::pager
