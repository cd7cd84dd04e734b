#include "mapping/overlay.h"

#include <cassert>
#include <utility>

#include "base/error.h"

namespace lamina::mapping {
namespace {

Status check_new_layer(const Mapping& mapping, const Uuid& layer) {
  if (layer.is_nil()) return fail(ErrorKind::kUsage, "the nil UUID cannot be a build id");
  if (mapping.layer_index(layer) != kZeros) {
    return fail(ErrorKind::kUsage, "build id {} is already in the chain; use another",
                layer.to_string());
  }
  return {};
}

}  // namespace

Result<Mapping> overlay(const Mapping& parent, const Uuid& layer, std::span<const Extent> changes) {
  LAMINA_RETURN_IF_ERROR(check_new_layer(parent, layer));
  std::vector<Uuid> layers(parent.layers().begin(), parent.layers().end());
  if (layers.size() == kMaxLayers) {
    return fail(ErrorKind::kFailed, "the chain already has {} layers; merge it first", kMaxLayers);
  }
  layers.push_back(layer);
  const auto index = static_cast<LayerIndex>(layers.size());

  MappingBuilder builder(parent.extent_count() + 2 * changes.size());
  std::uint32_t done = 0;
  std::size_t hint = 0;
  for (const Extent& change : changes) {
    assert(change.guest_block >= done && change.block_count > 0);
    if (change.guest_block > done) builder.append_range(parent, done, change.guest_block, hint);
    const bool zero = change.layer == kZeros;
    assert(zero || change.layer == kNewLayer);
    builder.append({change.guest_block, change.block_count, zero ? kZeros : index,
                    zero ? 0 : change.storage_block});
    done = change.guest_end();
  }
  assert(done <= parent.block_count());
  if (done < parent.block_count()) {
    builder.append_range(parent, done, parent.block_count(), hint);
  }
  return builder.finish(std::move(layers), {index});
}

Result<MergePlan> plan_merge(const Mapping& mapping, const std::vector<bool>& selected,
                             const Uuid& merged) {
  assert(selected.size() == mapping.layers().size() + 1 && !selected[kZeros]);
  LAMINA_RETURN_IF_ERROR(check_new_layer(mapping, merged));
  LayerIndex youngest = kZeros;
  for (std::size_t i = 1; i < selected.size(); ++i) {
    if (selected[i]) youngest = static_cast<LayerIndex>(i);
  }
  if (youngest == kZeros) return fail(ErrorKind::kUsage, "no layers to merge were selected");

  // The merged layer takes the index of the youngest. The others lose their references, so finish()
  // drops them from the table.
  std::vector<Uuid> layers(mapping.layers().begin(), mapping.layers().end());
  layers[youngest - 1] = merged;

  std::vector<Extent> moves;
  std::uint32_t moved = 0;
  MappingBuilder builder(mapping.extent_count());
  for (std::size_t i = 0; i < mapping.extent_count(); ++i) {
    Extent extent = mapping.extent(i);
    if (selected[extent.layer]) {
      moves.push_back(extent);
      extent.layer = youngest;
      extent.storage_block = moved;
      moved += extent.block_count;
    }
    builder.append(extent);
  }
  // The youngest layer of the chain stays in the table even if it holds no blocks, as in overlay().
  const auto last = static_cast<LayerIndex>(layers.size());
  return MergePlan{builder.finish(std::move(layers), {youngest, last}), std::move(moves), moved};
}

}  // namespace lamina::mapping
