#include "engine/page_cache_policy.h"

#include <algorithm>
#include <utility>

#include "base/block.h"
#include "os/page_cache.h"

namespace lamina::engine {
namespace {

/// Readahead distance: 8 MiB.
constexpr std::uint64_t kAheadBlocks = 2048;

/// Longest readahead call, so that a long run is not read too early.
constexpr std::uint32_t kAnnouncedBlocks = 512;

/// After this many blocks, 64 MiB, a cold VM's pages are dropped from the cache.
constexpr std::uint64_t kKeptBlocks = 16384;

}  // namespace

PageCachePolicy::PageCachePolicy(const Chain& chain, std::span<const mapping::Extent> moves,
                                 int destination, std::string destination_path)
    : chain_(chain),
      moves_(moves),
      destination_(destination),
      destination_path_(std::move(destination_path)),
      read_until_(chain.layers().size() + 1),
      dropped_until_(chain.layers().size() + 1) {}

void PageCachePolicy::begin() {
  has_begun_ = true;
  std::vector<bool> is_read(chain_.layers().size() + 1);
  for (const mapping::Extent& move : moves_) is_read[move.layer] = true;
  std::uint64_t cached = 0;
  std::uint64_t stored = 0;
  bool is_known = true;
  for (std::size_t i = 1; i < is_read.size(); ++i) {
    if (!is_read[i]) continue;
    const Layer& layer = chain_.layer(static_cast<mapping::LayerIndex>(i));
    os::disable_readahead(layer.fd());
    const auto bytes = os::cached_bytes(layer.fd());
    is_known = is_known && bytes.has_value();
    cached += bytes.value_or(0);
    stored += layer.stored_blocks() * kBlockBytes;
  }
  is_cold_ = is_known && cached < stored / 2;
  is_cached_ = is_known && cached >= stored - stored / 8;
}

bool PageCachePolicy::is_cold() {
  if (!has_begun_) begin();
  return is_cold_;
}

void PageCachePolicy::before_read(std::uint64_t block_count) {
  if (!has_begun_) begin();
  if (is_cached_) return;
  while (move_ < moves_.size() && announced_blocks_ < block_count + kAheadBlocks) {
    const mapping::Extent& move = moves_[move_];
    const std::uint32_t count = std::min(move.block_count - done_in_move_, kAnnouncedBlocks);
    // Runs that were cloned meanwhile need no readahead.
    if (announced_blocks_ + count > block_count) {
      os::read_ahead(chain_.layer(move.layer).fd(),
                     (move.storage_block + done_in_move_) * kBlockBytes, count * kBlockBytes);
    }
    announced_blocks_ += count;
    done_in_move_ += count;
    if (done_in_move_ < move.block_count) continue;
    done_in_move_ = 0;
    ++move_;
  }
}

void PageCachePolicy::after_read(const mapping::Extent& run, std::uint64_t written_blocks) {
  if (!is_cold_) return;
  // Within one layer the storage blocks of the moves ascend, as the guest blocks do.
  read_until_[run.layer] = std::max(read_until_[run.layer], run.storage_block + run.block_count);
  if (written_blocks < written_until_ + kKeptBlocks) return;
  drop_pages(written_blocks);
}

void PageCachePolicy::drop_pages(std::uint64_t written_blocks) {
  for (std::size_t i = 1; i < read_until_.size(); ++i) {
    if (dropped_until_[i] == read_until_[i]) continue;
    os::drop_cached(chain_.layer(static_cast<mapping::LayerIndex>(i)).fd(),
                    dropped_until_[i] * kBlockBytes,
                    (read_until_[i] - dropped_until_[i]) * kBlockBytes);
    dropped_until_[i] = read_until_[i];
  }
  if (destination_ < 0) {
    written_until_ = written_blocks;
    return;
  }
  // Only ranges whose writeback was started a while ago (WriteBehind), so that this hardly waits.
  const Status written =
      os::write_back_and_drop(destination_, writing_from_ * kBlockBytes,
                              (written_until_ - writing_from_) * kBlockBytes, destination_path_);
  if (written_ && !written) written_ = written;
  writing_from_ = written_until_;
  written_until_ = written_blocks;
}

Status PageCachePolicy::finish(std::uint64_t written_blocks) {
  if (!is_cold_) return {};
  drop_pages(written_blocks);
  drop_pages(written_blocks);
  return written_;
}

}  // namespace lamina::engine
