#include "scattered_reads.h"

#include <fcntl.h>

#include <algorithm>
#include <random>
#include <utility>

#include "base/block.h"
#include "base/error.h"
#include "io_uring.h"
#include "os/file.h"
#include "os/page_cache.h"

namespace lamina::bench {
namespace {

constexpr std::uint64_t kSeed = 17;
constexpr std::uint32_t kPieceBlocks = 16;
constexpr std::uint64_t kPieceBytes = kPieceBlocks * kBlockBytes;
constexpr std::uint64_t kGatherBytes = std::uint64_t{1} << 20;

Status expect_whole(std::int32_t result) {
  if (result < 0) return system_failure("io_uring", "a layer", -result);
  if (result == static_cast<std::int32_t>(kPieceBytes)) return {};
  return fail(ErrorKind::kFailed, "io_uring moved {} of {} bytes", result, kPieceBytes);
}

}  // namespace

ScatteredReads::ScatteredReads(const LayerFiles& layers, std::string target)
    : layers_(layers), target_(std::move(target)), bytes_(kTotalBytes) {
  for (std::uint32_t layer = 0; layer < layers.count(); ++layer) {
    for (std::uint32_t block = 0; block < layers.blocks(); block += kPieceBlocks) {
      pieces_.push_back({layer, block});
    }
  }
  std::mt19937_64 random(kSeed);
  std::shuffle(pieces_.begin(), pieces_.end(), random);
  pieces_.resize(kTotalBytes / kPieceBytes);
}

Status ScatteredReads::read_each() {
  for (std::size_t i = 0; i < pieces_.size(); ++i) {
    LAMINA_RETURN_IF_ERROR(read_piece(i, room(i)));
  }
  return {};
}

Status ScatteredReads::read_announced() {
  for (std::size_t i = 0; i < pieces_.size(); ++i) announce(i);
  return read_each();
}

Status ScatteredReads::read_announced_ahead() {
  announces_ahead_ = true;
  const Status read = read_each();
  announces_ahead_ = false;
  return read;
}

Status ScatteredReads::read_in_flight() {
  LAMINA_ASSIGN_OR_RETURN(IoUring ring, IoUring::create(kReadsInFlight));
  std::size_t next = 0;
  while (next < pieces_.size() || ring.in_flight() > 0) {
    for (; next < pieces_.size() && ring.in_flight() < kReadsInFlight; ++next) {
      ring.read(layers_.fd(pieces_[next].layer), room(next), pieces_[next].block * kBlockBytes,
                next);
    }
    LAMINA_ASSIGN_OR_RETURN(const IoUring::Completion done, ring.next());
    LAMINA_RETURN_IF_ERROR(expect_whole(done.result));
  }
  return {};
}

Status ScatteredReads::copy_each() {
  LAMINA_ASSIGN_OR_RETURN(const os::Fd to, create_file(target_));
  constexpr std::size_t kPieces = kGatherBytes / kPieceBytes;
  for (std::size_t first = 0; first < pieces_.size(); first += kPieces) {
    const auto buffer = std::span(bytes_).first(kGatherBytes);
    for (std::size_t i = 0; i < kPieces; ++i) {
      LAMINA_RETURN_IF_ERROR(read_piece(first + i, buffer.subspan(i * kPieceBytes, kPieceBytes)));
    }
    LAMINA_RETURN_IF_ERROR(os::write_at(to.get(), buffer, first * kPieceBytes, target_));
  }
  return os::sync(to.get(), target_);
}

Status ScatteredReads::copy_announced_ahead() {
  announces_ahead_ = true;
  const Status copied = copy_each();
  announces_ahead_ = false;
  return copied;
}

Status ScatteredReads::copy_in_flight() {
  LAMINA_ASSIGN_OR_RETURN(const os::Fd to, create_file(target_));
  {
    LAMINA_ASSIGN_OR_RETURN(IoUring ring, IoUring::create(kCopiesInFlight));
    std::vector<std::size_t> piece_of(kCopiesInFlight);
    std::vector<bool> is_write(kCopiesInFlight);
    std::size_t next = 0;
    const auto start_read = [&](std::size_t slot) {
      const Piece& piece = pieces_[next];
      ring.read(layers_.fd(piece.layer), room(slot), piece.block * kBlockBytes, slot);
      piece_of[slot] = next++;
      is_write[slot] = false;
    };
    for (std::size_t slot = 0; slot < kCopiesInFlight; ++slot) start_read(slot);
    while (ring.in_flight() > 0) {
      LAMINA_ASSIGN_OR_RETURN(const IoUring::Completion done, ring.next());
      LAMINA_RETURN_IF_ERROR(expect_whole(done.result));
      if (!is_write[done.id]) {
        ring.write(to.get(), room(done.id), piece_of[done.id] * kPieceBytes, done.id);
        is_write[done.id] = true;
      } else if (next < pieces_.size()) {
        start_read(done.id);
      }
    }
  }
  return os::sync(to.get(), target_);
}

Status ScatteredReads::check() const {
  for (std::size_t i = 0; i < pieces_.size(); ++i) {
    LAMINA_RETURN_IF_ERROR(layers_.check(pieces_[i].layer, pieces_[i].block,
                                         std::span(bytes_).subspan(i * kPieceBytes, kPieceBytes)));
  }
  return {};
}

Status ScatteredReads::check_target() {
  LAMINA_ASSIGN_OR_RETURN(const os::Fd file, open_file(target_, O_RDONLY));
  LAMINA_RETURN_IF_ERROR(os::read_exactly_at(file.get(), bytes_, 0, target_));
  return check();
}

std::span<std::byte> ScatteredReads::room(std::size_t piece) {
  return std::span(bytes_).subspan(piece * kPieceBytes, kPieceBytes);
}

void ScatteredReads::announce(std::size_t index) const {
  const Piece& piece = pieces_[index];
  os::read_ahead(layers_.fd(piece.layer), piece.block * kBlockBytes, kPieceBytes);
}

Status ScatteredReads::read_piece(std::size_t index, std::span<std::byte> to) const {
  if (announces_ahead_) {
    for (std::size_t i = index == 0 ? 1 : index + kReadsInFlight;
         i < std::min(index + kReadsInFlight + 1, pieces_.size()); ++i) {
      announce(i);
    }
  }
  const Piece& piece = pieces_[index];
  return os::read_exactly_at(layers_.fd(piece.layer), to, piece.block * kBlockBytes, "a layer");
}

void ScatteredReads::clear() { std::ranges::fill(bytes_, std::byte{0}); }

}  // namespace lamina::bench
