// Putting a diff on its parent, and putting one layer in place of several.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "lamina/result.h"
#include "lamina/uuid.h"
#include "mapping/mapping.h"

namespace lamina::mapping {

/// A run of blocks that a diff changes: to data of the new layer, or to zeros. What no Change names
/// is inherited.
struct Change {
  std::uint32_t guest_block = 0;
  std::uint32_t block_count = 0;
  bool zero = false;
  std::uint32_t storage_block = 0;  ///< 0 when zero

  [[nodiscard]] std::uint32_t guest_end() const { return guest_block + block_count; }
  bool operator==(const Change&) const = default;
};

/// `parent` with `changes` on it, held by the new layer `layer`, which becomes the youngest. Layers
/// that nothing references any more are dropped from the table; `layer` stays even if it holds
/// nothing. O(changes * log(extents) + extents moved as whole columns).
/// REQUIRES: changes are sorted, not empty runs, without overlap, inside the memory.
/// Fails with kUsage when `layer` is nil or already in the chain, kFailed when the chain is full.
Result<Mapping> overlay(const Mapping& parent, const Uuid& layer, std::span<const Change> changes);

/// One move of a merge: `block_count` blocks from `storage_block` of `layer` (an index of the
/// mapping merged) go to the end of the merged layer; they are guest blocks [guest_block, …).
struct Move {
  std::uint32_t guest_block = 0;
  std::uint32_t block_count = 0;
  LayerIndex layer = kZeros;
  std::uint32_t storage_block = 0;
};

/// What merging some layers of a mapping into one compact layer means.
struct MergePlan {
  Mapping mapping;          ///< resolves every block to the same contents as before
  std::vector<Move> moves;  ///< in guest order, which is the storage order of the merged layer
  std::uint32_t moved_blocks = 0;
};

/// Plans the merge of the layers for which `selected[index]` is true into `merged`, which takes the
/// place of the youngest of them. Only blocks that are live in `mapping` move.
/// REQUIRES: selected.size() == layers + 1, selected[kZeros] is false.
/// Fails with kUsage when none is selected, or `merged` is nil or in the table.
Result<MergePlan> plan_merge(const Mapping& mapping, const std::vector<bool>& selected,
                             const Uuid& merged);

}  // namespace lamina::mapping
