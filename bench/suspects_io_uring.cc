// Scattered reads of layers, one after another (ours), announced to the kernel before, or with many
// in flight by io_uring; and a merge-like copy of them.
#include "io_uring.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <random>
#include <vector>

#include "base/block.h"
#include "base/error.h"
#include "bench.h"
#include "storage_suspects.h"
#include "suspect_files.h"
#include "sys/file.h"

namespace lamina::bench {
namespace {

constexpr std::uint64_t kSeed = 17;
constexpr std::uint32_t kLayers = 8;
constexpr std::uint32_t kPieceBlocks = 16;
constexpr std::uint64_t kPieceBytes = kPieceBlocks * kBlockBytes;
constexpr std::uint64_t kTotalBytes = std::uint64_t{64} << 20;
constexpr std::uint64_t kGatherBytes = std::uint64_t{1} << 20;
constexpr std::size_t kReadsInFlight = 32;
constexpr std::size_t kCopiesInFlight = 8;

struct Piece {
  std::uint32_t layer;
  std::uint32_t block;
};

enum class Cache : std::uint8_t { kWarm, kCold };

class ScatteredReads {
 public:
  ScatteredReads(const LayerFiles& layers, std::string target)
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

  Status read_each() {
    for (std::size_t i = 0; i < pieces_.size(); ++i) {
      LAMINA_RETURN_IF_ERROR(read_piece(i, room(i)));
    }
    return {};
  }

  Status read_announced() {
    for (std::size_t i = 0; i < pieces_.size(); ++i) announce(i);
    return read_each();
  }

  /// Announced as many pieces ahead as io_uring has in flight.
  Status read_announced_ahead() {
    announces_ahead_ = true;
    const Status read = read_each();
    announces_ahead_ = false;
    return read;
  }

  Status read_in_flight() {
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

  /// As the merge does: read into a buffer of 1 MiB, written when full.
  Status copy_each() {
    LAMINA_ASSIGN_OR_RETURN(const sys::Fd to, create_file(target_));
    constexpr std::size_t kPieces = kGatherBytes / kPieceBytes;
    for (std::size_t first = 0; first < pieces_.size(); first += kPieces) {
      const auto buffer = std::span(bytes_).first(kGatherBytes);
      for (std::size_t i = 0; i < kPieces; ++i) {
        LAMINA_RETURN_IF_ERROR(read_piece(first + i, buffer.subspan(i * kPieceBytes, kPieceBytes)));
      }
      LAMINA_RETURN_IF_ERROR(sys::write_at(to.get(), buffer, first * kPieceBytes, target_));
    }
    return sys::sync(to.get(), target_);
  }

  Status copy_announced_ahead() {
    announces_ahead_ = true;
    const Status copied = copy_each();
    announces_ahead_ = false;
    return copied;
  }

  /// Each piece has a slot: once it has been read it is written from there.
  Status copy_in_flight() {
    LAMINA_ASSIGN_OR_RETURN(const sys::Fd to, create_file(target_));
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
    return sys::sync(to.get(), target_);
  }

  [[nodiscard]] Status make_ready(Cache cache) {
    std::ranges::fill(bytes_, std::byte{0});
    return cache == Cache::kCold ? layers_.make_cold() : Status{};
  }

  Status check() {
    for (std::size_t i = 0; i < pieces_.size(); ++i) {
      LAMINA_RETURN_IF_ERROR(layers_.check(pieces_[i].layer, pieces_[i].block, room(i)));
    }
    return {};
  }

  Status check_target() {
    LAMINA_ASSIGN_OR_RETURN(const sys::Fd file, open_file(target_, O_RDONLY));
    LAMINA_RETURN_IF_ERROR(sys::read_exactly_at(file.get(), bytes_, 0, target_));
    return check();
  }

  Status remove_target() { return remove_all(target_); }

 private:
  std::span<std::byte> room(std::size_t piece) {
    return std::span(bytes_).subspan(piece * kPieceBytes, kPieceBytes);
  }

  void announce(std::size_t index) const {
    const Piece& piece = pieces_[index];
    sys::read_ahead(layers_.fd(piece.layer), piece.block * kBlockBytes, kPieceBytes);
  }

  Status read_piece(std::size_t index, std::span<std::byte> to) const {
    if (announces_ahead_) {
      for (std::size_t i = index == 0 ? 1 : index + kReadsInFlight;
           i < std::min(index + kReadsInFlight + 1, pieces_.size()); ++i) {
        announce(i);
      }
    }
    const Piece& piece = pieces_[index];
    return sys::read_exactly_at(layers_.fd(piece.layer), to, piece.block * kBlockBytes, "a layer");
  }

  static Status expect_whole(std::int32_t result) {
    if (result < 0) return system_failure("io_uring", "a layer", -result);
    if (result == static_cast<std::int32_t>(kPieceBytes)) return {};
    return fail(ErrorKind::kFailed, "io_uring moved {} of {} bytes", result, kPieceBytes);
  }

  const LayerFiles& layers_;
  std::string target_;
  std::vector<std::byte> bytes_;
  std::vector<Piece> pieces_;
  bool announces_ahead_ = false;
};

struct Names {
  Cache cache;
  std::string read;
  std::string copy;
};

Status compare(Bench& bench, const Names& names, ScatteredReads& reads) {
  const Cache cache = names.cache;
  Comparison comparison;
  comparison.bytes = kTotalBytes;
  if (bench.wants(names.read)) {
    const auto contender = [&](const char* name, Status (ScatteredReads::*way)()) {
      return Contender{name,
                       [&reads, cache] { return reads.make_ready(cache); },
                       [&reads, way] { return (reads.*way)(); },
                       [&reads] { return reads.check(); },
                       {}};
    };
    comparison.name = names.read;
    comparison.what =
        "64 MiB read in pieces of 64 KiB at random of 8 layers: one by one, all or 32 announced "
        "before, or 32 in flight";
    comparison.contenders = {contender("ours", &ScatteredReads::read_each),
                             contender("willneed", &ScatteredReads::read_announced),
                             contender("willneed-32", &ScatteredReads::read_announced_ahead),
                             contender("io-uring", &ScatteredReads::read_in_flight)};
    LAMINA_RETURN_IF_ERROR(bench.run(comparison));
  }
  if (bench.wants(names.copy)) {
    const auto contender = [&](const char* name, Status (ScatteredReads::*way)()) {
      return Contender{name, [&reads, cache] { return reads.make_ready(cache); },
                       [&reads, way] { return (reads.*way)(); },
                       [&reads] { return reads.check_target(); },
                       [&reads] { return reads.remove_target(); }};
    };
    comparison.name = names.copy;
    comparison.what =
        "the same pieces copied into a file, fsync included: a loop, 32 announced ahead, or 8 "
        "in flight";
    comparison.contenders = {contender("ours", &ScatteredReads::copy_each),
                             contender("willneed-32", &ScatteredReads::copy_announced_ahead),
                             contender("io-uring", &ScatteredReads::copy_in_flight)};
    LAMINA_RETURN_IF_ERROR(bench.run(comparison));
  }
  return {};
}

}  // namespace

Status run_io_uring_suspects(Bench& bench) {
  const std::vector<Names> all = {
      {Cache::kCold, "suspect-io-uring/read-cold", "suspect-io-uring/copy-cold"},
      {Cache::kWarm, "suspect-io-uring/read-cached", "suspect-io-uring/copy-cached"}};
  if (std::ranges::none_of(all, [&](const Names& names) {
        return bench.wants(names.read) || bench.wants(names.copy);
      })) {
    return {};
  }
  if (const auto ring = IoUring::create(kReadsInFlight); !ring) {
    bench.skip("suspect-io-uring", ring.error().message);
    return {};
  }
  const std::string directory = bench.directory() + "/suspect-io-uring";
  std::filesystem::create_directory(directory);
  {
    LAMINA_ASSIGN_OR_RETURN(
        const LayerFiles layers,
        LayerFiles::create(directory, kLayers, bench.memory_blocks() / kLayers));
    ScatteredReads reads(layers, directory + "/copy");
    for (const Names& names : all) LAMINA_RETURN_IF_ERROR(compare(bench, names, reads));
  }
  return remove_all(directory);
}

}  // namespace lamina::bench
