// Applies a diff to its parent's mapping, and plans the merge of several layers into one.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "lamina/result.h"
#include "lamina/uuid.h"
#include "mapping/mapping.h"

namespace lamina::mapping {

/// `parent` with the blocks of `changes` replaced. In `changes` the layer is kNewLayer or kZeros;
/// kNewLayer stands for the layer `layer`, which becomes the youngest. Blocks that are not in
/// `changes` are inherited. Layers that are no longer referenced are dropped from the table, except
/// `layer`. O(changes * log(extents)), plus whole columns of extents that are copied.
/// REQUIRES: changes are sorted, not empty, disjoint, and inside the memory.
/// Fails with kUsage if `layer` is nil or already in the chain, kFailed if the chain is full.
Result<Mapping> overlay(const Mapping& parent, const Uuid& layer, std::span<const Extent> changes);

/// A merge of several layers of a mapping into one compact layer.
struct MergePlan {
  Mapping mapping;  ///< the mapping after the merge; each block has the same contents as before
  /// The extents of the old mapping whose blocks are appended to the merged layer, one after the
  /// other, in guest order.
  std::vector<Extent> moves;
  std::uint32_t moved_blocks = 0;
};

/// Plans the merge of the layers for which `selected[index]` is true into the new layer `merged`,
/// which replaces the youngest of them. Only live blocks are moved.
/// REQUIRES: selected.size() == layers + 1, selected[kZeros] is false.
/// Fails with kUsage if no layer is selected, or `merged` is nil or in the table.
Result<MergePlan> plan_merge(const Mapping& mapping, const std::vector<bool>& selected,
                             const Uuid& merged);

}  // namespace lamina::mapping
