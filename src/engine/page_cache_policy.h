// Use of the page cache by operations that read whole layers. The cache is shared with running VMs.
//
// - The kernel's readahead is off: layers are sparse, and readahead across holes would fill the
//   cache with zeros. Instead the policy requests readahead for the next blocks it will read.
// - If the layers were not cached before (a paused VM), the pages that were read or written are
//   dropped on the way. If they were, the merged layer stays cached as its sources were.
//
// Measured in docs/performance.md, "Page cache".
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/chain.h"
#include "lamina/result.h"
#include "mapping/overlay.h"

namespace lamina::engine {

/// For one pass over `moves`; not thread-safe. It only advises the kernel, except that dropping
/// pages of the destination writes them back: finish() reports write errors.
class PageCachePolicy {
 public:
  /// `chain` and `moves` must outlive this object. `destination` is the file to which the blocks of
  /// `moves` are written one after the other; its pages are dropped too. -1: keep the written pages
  /// cached, because they are used next.
  PageCachePolicy(const Chain& chain, std::span<const mapping::Extent> moves, int destination,
                  std::string destination_path = {});

  /// To be called before a read through the page cache (cloning is not one). `block_count` blocks
  /// of the moves have been processed.
  void before_read(std::uint64_t block_count);

  /// To be called after a run of a layer was read. `written_blocks` have been written so far.
  void after_read(const mapping::Extent& run, std::uint64_t written_blocks);

  /// True if the layers were not cached before, so their pages are to be dropped.
  [[nodiscard]] bool is_cold();

  /// To be called after the last write. An error means that the destination must be rewritten; a
  /// later sync would not report it.
  Status finish(std::uint64_t written_blocks);

 private:
  void begin();
  void drop_pages(std::uint64_t written_blocks);

  const Chain& chain_;
  std::span<const mapping::Extent> moves_;
  int destination_;
  std::string destination_path_;
  Status written_;  ///< the first failure
  bool has_begun_ = false;
  bool is_cold_ = false;   ///< not cached before
  bool is_cached_ = true;  ///< cached before: no readahead
  // Readahead was requested for the moves before `move_` and `done_in_move_` blocks of that one.
  std::size_t move_ = 0;
  std::uint32_t done_in_move_ = 0;
  std::uint64_t announced_blocks_ = 0;
  // What was dropped.
  std::vector<std::uint32_t> read_until_;     ///< of each layer, a storage block
  std::vector<std::uint32_t> dropped_until_;  ///< of each layer, a storage block
  std::uint64_t writing_from_ = 0;            ///< destination block: dropped before it
  std::uint64_t written_until_ = 0;  ///< destination block: written when pages were last dropped
};

}  // namespace lamina::engine
