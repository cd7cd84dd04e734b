// A portion of a populate plan: what is read, checked and copied in one go.
//
// The thread that owns a VM plans a portion; whoever reads ahead (PlanReader) reads its data into
// the portion's buffer and checks it; the owner copies from that very buffer. Between the plan and
// the copy the guest may give blocks back, so the owner looks at every block anew when it copies:
// a portion says what the snapshot has there, and nothing about whether it is still wanted.
//
// A portion covers what the plan says from one position to another. Inside it the order is free,
// because it is filled in less than a millisecond: its pieces are sorted in guest order, and those
// that touch become one. So runs that a resume touched one after the other, in either direction, or
// here and there in the same area, are filled by one ioctl.
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

/// What a portion holds at most: blocks of data, which is what the buffer has room for, and pieces.
inline constexpr std::uint32_t kPortionBlocks = 512;
inline constexpr std::uint32_t kPortionPieces = 512;

/// A run of blocks of one kind, inside one region. A page of 2 MiB is one piece of data.
struct Piece : BlockRun {
  bool zero = false;
  std::uint32_t buffer_block = 0;  ///< where its data is in the buffer

  bool operator==(const Piece&) const = default;
};

enum class PortionState : int {  // NOLINT(performance-enum-size): waited for with a futex
  kFree,     ///< of the owner: nothing is in it, or it is not to be read by anybody else
  kPosted,   ///< to be read; the owner may take it back
  kReading,  ///< of whoever reads it
  kRead,     ///< of the owner: every block is what it must be
  kFailed,   ///< of the owner: something could not be read or is wrong
};

/// Everything but the state is of whom the state says.
struct Portion {
  std::atomic<PortionState> state = PortionState::kFree;
  std::atomic<std::uint64_t> number = 0;  ///< portions are read in the order of their numbers
  const engine::Chain* chain = nullptr;
  std::span<std::byte> buffer;  ///< kPortionBlocks; empty: nobody reads ahead
  std::array<Piece, kPortionPieces> pieces{};
  std::uint32_t piece_count = 0;
  std::uint64_t plan_blocks = 0;   ///< of the plan, those that are not filled included
  std::uint64_t end_position = 0;  ///< in the plan, in the terms of Session
  // How far it has been filled.
  std::uint32_t next_piece = 0;
  std::uint32_t next_block = 0;  ///< of that piece

  [[nodiscard]] std::span<Piece> planned() { return std::span(pieces).first(piece_count); }
  [[nodiscard]] std::span<const Piece> planned() const {
    return std::span(pieces).first(piece_count);
  }
  void clear();
};

/// Sorts the pieces in guest order, joins those of one kind and region that touch or overlap, gives
/// each its place in the buffer, and returns how many are left. No allocation.
std::uint32_t join_pieces(std::span<Piece> pieces, const RegionTable& regions);

/// Reads a portion's data into its buffer, checked. What is behind the end of the memory, in the
/// last page of 2 MiB, is zeros. No retries: whoever needs the data tries again.
Status read_portion(const Portion& portion);

}  // namespace lamina::pager
