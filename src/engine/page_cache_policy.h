// How whoever reads the layers of a chain from end to end uses the page cache, which it shares with
// the VMs that run.
//
// - Nothing is read but what is asked for: the layers are sparse, and reading ahead across their
//   holes would fill the cache with zeros. What is read next is announced instead.
// - When the layers were not cached before (nobody uses them: the VM is paused), what was read is
//   given back on the way, and what was merged too. When they were, the merged layer stays cached
//   as its parts were.
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

/// For one pass over `moves`; not thread-safe. Only advice to the kernel, but for the destination:
/// what of it could not be written when it was given back, finish() says.
class PageCachePolicy {
 public:
  /// `chain` and `moves` must outlive this. `destination` is where the blocks of `moves` are
  /// written one after the other, and is given back too; -1: what is written is for somebody who
  /// uses it at once.
  PageCachePolicy(const Chain& chain, std::span<const mapping::Extent> moves, int destination,
                  std::string destination_path = {});

  /// Before data goes through the page cache (what is cloned does not): `block_count` of the moves'
  /// blocks have been dealt with.
  void before_read(std::uint64_t block_count);

  /// A run of a layer has been read, and so much has been written.
  void after_read(const mapping::Extent& run, std::uint64_t written_blocks);

  /// True when what is moved was not cached before, and should not be afterwards.
  [[nodiscard]] bool is_cold();

  /// Everything has been written. An error means that the destination must be written anew: a sync
  /// of it would not tell.
  Status finish(std::uint64_t written_blocks);

 private:
  void begin();
  void give_back(std::uint64_t written_blocks);

  const Chain& chain_;
  std::span<const mapping::Extent> moves_;
  int destination_;
  std::string destination_path_;
  Status written_;  ///< the first failure
  bool has_begun_ = false;
  bool is_cold_ = false;   ///< not cached before
  bool is_cached_ = true;  ///< cached before: nothing is announced
  // What has been announced: moves before `move_`, and `done_in_move_` blocks of that one.
  std::size_t move_ = 0;
  std::uint32_t done_in_move_ = 0;
  std::uint64_t announced_blocks_ = 0;
  // What has been given back.
  std::vector<std::uint32_t> read_until_;     ///< of each layer, a storage block
  std::vector<std::uint32_t> dropped_until_;  ///< of each layer, a storage block
  std::uint64_t writing_from_ = 0;            ///< of the destination, in blocks: not given back yet
  std::uint64_t written_until_ = 0;           ///< of the destination, in blocks: seen to be written
};

}  // namespace lamina::engine
