#include "engine/merge_data.h"

#include <algorithm>
#include <span>

#include "base/block.h"
#include "base/error.h"
#include "engine/block_scan.h"
#include "engine/page_cache_policy.h"
#include "engine/read_back.h"
#include "engine/transfer.h"
#include "engine/write_behind.h"
#include "os/file.h"
#include "os/page_cache.h"
#include "os/range_copy.h"

namespace lamina::engine {
namespace {

/// Shorter runs are copied through the buffer: on ext4, copy_file_range takes about 6 microseconds
/// for a block, and reading it into a shared buffer takes one.
constexpr std::uint32_t kMinKernelCopiedBlocks = 32;

/// Minimum average run length for cloning: a call takes 15 microseconds whatever its length, and
/// short clones fragment the file. Either all runs of a merge are cloned or none, because copied
/// data would have to be synced as well.
constexpr std::uint64_t kMinMeanClonedBlocks = 8;

/// Maximum size of one kernel call, so that an interruption is noticed.
constexpr std::uint32_t kMaxCallBlocks = 16384;

/// Readahead distance while clones are verified.
constexpr std::uint64_t kVerifyAheadBytes = std::uint64_t{8} << 20;

/// Buffer size for short runs.
constexpr std::uint32_t kGatherBlocks = 256;

class Merger {
 public:
  Merger(const Chain& chain, std::span<const mapping::Extent> moves, const MergeTarget& target)
      : chain_(chain),
        target_(target),
        clone_(target.allow_clone),
        kernel_copy_(target.allow_kernel_copy),
        gathered_(kGatherBlocks * kBlockBytes),
        read_back_(kChunkBlocks * kBlockBytes),
        moves_(moves),
        cache_policy_(chain, moves, target.destination, target.path),
        behind_(target.destination) {}

  Result<MergedData> run() {
    std::uint64_t blocks = 0;
    for (const mapping::Extent& move : moves_) blocks += move.block_count;
    clone_ = clone_ && blocks >= kMinMeanClonedBlocks * moves_.size();
    merged_.checksums.reserve(blocks);
    if (target_.progress != nullptr) target_.progress->begin("merging", blocks * kBlockBytes);
    for (const mapping::Extent& move : moves_) LAMINA_RETURN_IF_ERROR(add(move));
    LAMINA_RETURN_IF_ERROR(flush());
    if (merged_.cloned_bytes > 0) LAMINA_RETURN_IF_ERROR(check_clones());
    LAMINA_RETURN_IF_ERROR(cache_policy_.finish(end_block_));
    return std::move(merged_);
  }

 private:
  Status add(const mapping::Extent& move) {
    for (std::uint32_t done = 0; done < move.block_count;) {
      mapping::Extent part{move.guest_block + done,
                           std::min(move.block_count - done, kMaxCallBlocks), move.layer,
                           move.storage_block + done};
      LAMINA_RETURN_IF_ERROR(add_part(part));
      moved_blocks_ += part.block_count;
      done += part.block_count;
      LAMINA_RETURN_IF_ERROR(advance(target_.progress, part.block_count * kBlockBytes));
    }
    return {};
  }

  Status add_part(const mapping::Extent& part) {
    const Layer& layer = chain_.layer(part.layer);
    const auto checksums = layer.checksums(part);
    if (checksums.empty()) return gather(part);  // must be read to compute checksums
    if (clone_ || (kernel_copy_ && part.block_count >= kMinKernelCopiedBlocks)) {
      LAMINA_ASSIGN_OR_RETURN(const bool moved, move_in_kernel(layer, part, checksums));
      if (moved) {
        merged_.checksums.insert(merged_.checksums.end(), checksums.begin(), checksums.end());
        end_block_ += part.block_count;
        return {};
      }
    }
    return gather(part);
  }

  /// False if this run must be copied through the buffer, because the kernel cannot copy it or has
  /// copied wrong data. The source layer still exists at this point.
  Result<bool> move_in_kernel(const Layer& layer, const mapping::Extent& part,
                              std::span<const std::uint64_t> checksums) {
    LAMINA_RETURN_IF_ERROR(flush());
    const std::uint64_t from = part.storage_block * kBlockBytes;
    const std::uint64_t to = end_block_ * kBlockBytes;
    const std::uint64_t length = part.block_count * kBlockBytes;
    if (clone_) {
      LAMINA_ASSIGN_OR_RETURN(
          clone_, os::clone_range(layer.fd(), from, target_.destination, to, length, target_.path));
      if (clone_) {
        merged_.cloned_bytes += length;
        return true;
      }
    }
    if (!kernel_copy_ || part.block_count < kMinKernelCopiedBlocks) return false;
    cache_policy_.before_read(moved_blocks_);
    LAMINA_ASSIGN_OR_RETURN(kernel_copy_,
                            os::kernel_copy_range(layer.fd(), from, target_.destination, to, length,
                                                  layer.path(), target_.path));
    // Verify at once, while it is cached.
    if (!kernel_copy_ ||
        !blocks_match(target_.destination, end_block_, checksums, read_back_, target_.path)) {
      return false;
    }
    merged_.kernel_copied_bytes += length;
    behind_.written_until(to + length);
    cache_policy_.after_read(part, end_block_);
    return true;
  }

  /// Reads the whole file from the disk and verifies it: clones are not cached.
  Status check_clones() {
    os::read_ahead(target_.destination, 0, kVerifyAheadBytes);
    for (std::uint64_t block = 0; block < end_block_;) {
      const std::uint64_t count = std::min<std::uint64_t>(kGatherBlocks, end_block_ - block);
      const std::uint64_t offset = block * kBlockBytes;
      os::read_ahead(target_.destination, offset + kVerifyAheadBytes, count * kBlockBytes);
      const auto checksums = std::span(merged_.checksums).subspan(block, count);
      if (!blocks_match(target_.destination, block, checksums, gathered_, target_.path)) {
        LAMINA_RETURN_IF_ERROR(rewrite(block, count));
      } else if (cache_policy_.is_cold()) {
        os::drop_cached(target_.destination, offset, count * kBlockBytes);
      }
      block += count;
      LAMINA_RETURN_IF_ERROR(advance(target_.progress, 0));
    }
    return {};
  }

  /// Copies blocks of the merged layer from their source layers again and verifies them.
  Status rewrite(std::uint64_t first, std::uint64_t count) {
    std::uint64_t at = 0;
    for (const mapping::Extent& move : moves_) {
      const std::uint64_t from = std::max(first, at);
      const std::uint64_t to = std::min(first + count, at + move.block_count);
      for (std::uint64_t block = from; block < to; ++block) {
        const auto index = static_cast<std::uint32_t>(block - at);
        const auto bytes = std::span(gathered_).first(kBlockBytes);
        LAMINA_RETURN_IF_ERROR(
            chain_.layer(move.layer)
                .read_checked({move.guest_block + index, 1, move.layer, move.storage_block + index},
                              bytes));
        LAMINA_RETURN_IF_ERROR(
            os::write_at(target_.destination, bytes, block * kBlockBytes, target_.path));
      }
      at += move.block_count;
    }
    return {};
  }

  Status gather(mapping::Extent part) {
    const Layer& layer = chain_.layer(part.layer);
    cache_policy_.before_read(moved_blocks_);
    while (part.block_count > 0) {
      if (gathered_blocks_ == kGatherBlocks) LAMINA_RETURN_IF_ERROR(flush());
      mapping::Extent piece = part;
      piece.block_count = std::min(part.block_count, kGatherBlocks - gathered_blocks_);
      const auto room = std::span(gathered_).subspan(gathered_blocks_ * kBlockBytes,
                                                     piece.block_count * kBlockBytes);
      LAMINA_RETURN_IF_ERROR(layer.read_checked(piece, room));
      const auto checksums = layer.checksums(piece);
      merged_.checksums.insert(merged_.checksums.end(), checksums.begin(), checksums.end());
      if (checksums.empty()) compute_checksums(room);
      cache_policy_.after_read(piece, end_block_);
      gathered_blocks_ += piece.block_count;
      part = {part.guest_block + piece.block_count, part.block_count - piece.block_count,
              part.layer, part.storage_block + piece.block_count};
    }
    return {};
  }

  void compute_checksums(std::span<const std::byte> blocks) {
    for (std::size_t offset = 0; offset < blocks.size(); offset += kBlockBytes) {
      merged_.checksums.push_back(block_checksum(blocks.subspan(offset, kBlockBytes)));
    }
  }

  Status flush() {
    const std::uint64_t bytes = gathered_blocks_ * kBlockBytes;
    if (bytes == 0) return {};
    LAMINA_RETURN_IF_ERROR(os::write_at(target_.destination, std::span(gathered_).first(bytes),
                                        end_block_ * kBlockBytes, target_.path));
    merged_.read_written_bytes += bytes;
    end_block_ += gathered_blocks_;
    gathered_blocks_ = 0;
    behind_.written_until(end_block_ * kBlockBytes);
    return {};
  }

  const Chain& chain_;
  const MergeTarget& target_;
  bool clone_;
  bool kernel_copy_;
  std::vector<std::byte> gathered_;
  std::vector<std::byte> read_back_;
  std::uint32_t gathered_blocks_ = 0;
  std::span<const mapping::Extent> moves_;
  PageCachePolicy cache_policy_;
  WriteBehind behind_;
  std::uint64_t moved_blocks_ = 0;
  std::uint64_t end_block_ = 0;  ///< blocks written to the destination
  MergedData merged_;
};

}  // namespace

Result<MergedData> merge_data(const Chain& chain, const std::vector<mapping::Extent>& moves,
                              const MergeTarget& target) {
  return Merger(chain, moves, target).run();
}

}  // namespace lamina::engine
