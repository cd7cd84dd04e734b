#include "e2b/block_collector.h"

#include <algorithm>

#include "base/block.h"
#include "base/error.h"
#include "engine/transfer.h"

namespace lamina::e2b {

BlockCollector::BlockCollector(std::span<const Piece> pieces, LayerFile& layer,
                               std::uint64_t memory_bytes, std::uint64_t data_bytes,
                               Progress* progress)
    : pieces_(pieces),
      layer_(layer),
      memory_bytes_(memory_bytes),
      data_bytes_(data_bytes),
      progress_(progress) {}

std::unexpected<Error> BlockCollector::missing(std::uint64_t block) {
  return fail(ErrorKind::kCorrupt, "the memory needs its bytes at {:#x}, and no frame has them",
              block * kBlockBytes);
}

Status BlockCollector::check() const {
  for (const Piece& piece : pieces_) {
    const std::uint64_t end = piece.storage_end() * kBlockBytes;
    if (end <= data_bytes_) continue;
    // Only the last block of the memory need not be whole.
    const std::uint64_t guest_end =
        (std::uint64_t{piece.guest_block} + piece.block_count) * kBlockBytes;
    const std::uint64_t behind = guest_end > memory_bytes_ ? guest_end - memory_bytes_ : 0;
    if (end - behind <= data_bytes_) continue;
    return fail(ErrorKind::kCorrupt, "the memory needs its bytes up to {:#x}, and it has {:#x}",
                end - behind, data_bytes_);
  }
  return {};
}

bool BlockCollector::is_needed(std::uint64_t offset, std::uint64_t end) {
  while (next_needed_ < pieces_.size() && pieces_[next_needed_].storage_block * kBlockBytes < end) {
    needed_end_ = std::max(needed_end_, pieces_[next_needed_].storage_end() * kBlockBytes);
    ++next_needed_;
  }
  // All of these begin before `end`.
  return needed_end_ > offset;
}

Status BlockCollector::take(std::uint64_t offset, std::span<const std::byte> bytes) {
  if (!partial_.empty() && partial_offset_ + partial_.size() != offset) partial_.clear();
  if (partial_.empty() && offset % kBlockBytes != 0) {
    // The beginning of this block was not read.
    const std::uint64_t skipped = kBlockBytes - offset % kBlockBytes;
    if (skipped >= bytes.size()) return {};
    offset += skipped;
    bytes = bytes.subspan(skipped);
  }
  if (!partial_.empty()) {
    const std::size_t wanted = std::min(kBlockBytes - partial_.size(), bytes.size());
    partial_.insert(partial_.end(), bytes.begin(),
                    bytes.begin() + static_cast<std::ptrdiff_t>(wanted));
    offset += wanted;
    bytes = bytes.subspan(wanted);
    if (partial_.size() < kBlockBytes) return {};
    LAMINA_RETURN_IF_ERROR(take_blocks(partial_offset_ / kBlockBytes, partial_));
    partial_.clear();
  }
  const std::size_t whole = bytes.size() / kBlockBytes * kBlockBytes;
  if (whole != 0) LAMINA_RETURN_IF_ERROR(take_blocks(offset / kBlockBytes, bytes.first(whole)));
  const auto rest = bytes.subspan(whole);
  if (!rest.empty()) {
    partial_.assign(rest.begin(), rest.end());
    partial_offset_ = offset + whole;
  }
  return {};
}

Status BlockCollector::take_blocks(std::uint64_t first, std::span<const std::byte> blocks) {
  const std::uint64_t end = first + blocks.size() / kBlockBytes;
  while (next_ < pieces_.size() && pieces_[next_].storage_block < end) {
    active_.push_back({next_, 0});
    ++next_;
  }
  for (Active& active : active_) LAMINA_RETURN_IF_ERROR(put_active(active, first, blocks));
  std::erase_if(active_, [this](const Active& active) {
    return active.done == pieces_[active.piece].block_count;
  });
  return {};
}

Status BlockCollector::put_active(Active& active, std::uint64_t first,
                                  std::span<const std::byte> blocks) {
  const Piece& piece = pieces_[active.piece];
  const std::uint64_t from = std::uint64_t{piece.storage_block} + active.done;
  const std::uint64_t end = first + blocks.size() / kBlockBytes;
  if (from < first) return missing(from);
  const std::uint64_t to = std::min(end, piece.storage_end());
  const auto count = static_cast<std::uint32_t>(to - from);
  LAMINA_RETURN_IF_ERROR(
      layer_.put(piece.guest_block + active.done, std::uint64_t{piece.number} + active.done,
                 blocks.subspan((from - first) * kBlockBytes, count * kBlockBytes)));
  active.done += count;
  return engine::advance(progress_, count * kBlockBytes);
}

Status BlockCollector::finish() {
  const bool is_end = partial_offset_ + partial_.size() == data_bytes_;
  if (!partial_.empty() && is_end) {
    partial_.resize(kBlockBytes);
    LAMINA_RETURN_IF_ERROR(take_blocks(partial_offset_ / kBlockBytes, partial_));
  }
  if (!active_.empty()) {
    const Active& active = active_.front();
    return missing(std::uint64_t{pieces_[active.piece].storage_block} + active.done);
  }
  if (next_ < pieces_.size()) return missing(pieces_[next_].storage_block);
  return {};
}

}  // namespace lamina::e2b
