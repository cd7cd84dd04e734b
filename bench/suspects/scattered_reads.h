// Pieces of layers at random, read or copied in several ways.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "lamina/result.h"
#include "suspect_files.h"

namespace lamina::bench {

class ScatteredReads {
 public:
  static constexpr std::uint64_t kTotalBytes = std::uint64_t{64} << 20;
  static constexpr std::size_t kReadsInFlight = 32;
  static constexpr std::size_t kCopiesInFlight = 8;

  /// Pieces of 64 KiB of `layers`, and the file that they are copied to.
  ScatteredReads(const LayerFiles& layers, std::string target);

  Status read_each();
  /// All are announced to the kernel, then each is read.
  Status read_announced();
  /// Announced as many pieces ahead as io_uring has in flight.
  Status read_announced_ahead();
  Status read_in_flight();

  /// As the merge does: read into a buffer of 1 MiB, written when full. All copies are synced.
  Status copy_each();
  Status copy_announced_ahead();
  /// Each piece has a slot: once it has been read it is written from there.
  Status copy_in_flight();

  /// Forgets what was read.
  void clear();
  Status check() const;
  Status check_target();
  Status remove_target() { return remove_all(target_); }

 private:
  struct Piece {
    std::uint32_t layer = 0;
    std::uint32_t block = 0;
  };

  std::span<std::byte> room(std::size_t piece);
  void announce(std::size_t piece) const;
  Status read_piece(std::size_t piece, std::span<std::byte> to) const;

  const LayerFiles& layers_;
  std::string target_;
  std::vector<std::byte> bytes_;
  std::vector<Piece> pieces_;
  bool announces_ahead_ = false;
};

}  // namespace lamina::bench
