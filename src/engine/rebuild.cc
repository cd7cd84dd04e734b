#include "engine/rebuild.h"

#include <algorithm>
#include <cstddef>
#include <map>
#include <optional>
#include <ranges>
#include <set>
#include <vector>

#include "base/block.h"
#include "base/error.h"
#include "mapping/overlay.h"

namespace lamina::engine {
namespace {

using format::Trailer;

/// Index of which layers were published on top of which. A directory may contain very many layers,
/// and each trailer may name tens of thousands.
class AncestorIndex {
 public:
  explicit AncestorIndex(std::span<const Trailer* const> trailers) : trailers_(trailers) {
    for (std::size_t i = 0; i < trailers.size(); ++i) {
      for (const Uuid& id : trailers[i]->chain) {
        auto& above = above_[id];
        if (above.empty() || above.back() != i) above.push_back(i);
      }
    }
  }

  /// True if layer number `index` was published on top of every layer that `merged` replaced. Only
  /// then can `merged` replace them below that layer. (A fork has only some of them in its chain;
  /// the merged layer then contains blocks of a sibling.)
  [[nodiscard]] bool is_above_all_replaced(std::size_t index, const Trailer& merged) const {
    return !merged.replaces.empty() &&
           std::all_of(merged.replaces.begin(), merged.replaces.end(), [&](const Uuid& id) {
             const auto above = above_.find(id);
             return above != above_.end() && has(above->second, index);
           });
  }

  /// True if another layer was published on top of all the layers that layer number `merged`
  /// replaced. The shortest list is searched first; it usually has at most one entry.
  [[nodiscard]] bool has_layer_above(std::size_t merged) const {
    std::vector<const std::vector<std::size_t>*> lists;
    for (const Uuid& id : trailers_[merged]->replaces) {
      const auto above = above_.find(id);
      if (above == above_.end()) return false;
      lists.push_back(&above->second);
    }
    if (lists.empty()) return false;
    std::sort(lists.begin(), lists.end(),
              [](const auto* a, const auto* b) { return a->size() < b->size(); });
    return std::any_of(lists[0]->begin(), lists[0]->end(), [&](std::size_t other) {
      return other != merged &&
             std::all_of(lists.begin() + 1, lists.end(),
                         [other](const auto* list) { return has(*list, other); });
    });
  }

 private:
  static bool has(const std::vector<std::size_t>& layers, std::size_t index) {
    return std::binary_search(layers.begin(), layers.end(), index);
  }

  std::span<const Trailer* const> trailers_;
  std::map<Uuid, std::vector<std::size_t>> above_;  ///< numbers of the layers, ascending
};

/// The number of the layer that no other layer was published on top of or has replaced.
Result<std::size_t> find_youngest(std::span<const Trailer* const> trailers,
                                  const AncestorIndex& ancestors) {
  std::set<Uuid> covered;
  for (const Trailer* trailer : trailers) {
    covered.insert(trailer->replaces.begin(), trailer->replaces.end());
    for (const Uuid& id : trailer->chain) {
      if (id != trailer->build_id) covered.insert(id);
    }
  }
  std::optional<std::size_t> youngest;
  for (std::size_t i = 0; i < trailers.size(); ++i) {
    if (covered.contains(trailers[i]->build_id) || ancestors.has_layer_above(i)) continue;
    if (youngest) {
      return fail(
          ErrorKind::kCorrupt,
          "layers {} and {} both look like the youngest: this directory contains layers of more "
          "than one snapshot",
          trailers[*youngest]->build_id.to_string(), trailers[i]->build_id.to_string());
    }
    youngest = i;
  }
  if (!youngest) {
    return fail(ErrorKind::kCorrupt, "the chains of the layers are circular");
  }
  return *youngest;
}

/// Checks the order of `chain` against the trailers. A chain listed under a version 1 header may be
/// in the wrong order, because that format does not record it.
Status check_order(const std::vector<const Trailer*>& chain) {
  std::map<Uuid, std::size_t> place;
  for (std::size_t i = 0; i < chain.size(); ++i) place[chain[i]->build_id] = i;
  for (std::size_t i = 0; i < chain.size(); ++i) {
    for (const Uuid& id : chain[i]->chain) {
      const auto older = place.find(id);
      if (older == place.end() || older->second <= i) continue;
      return fail(ErrorKind::kCorrupt, "layers {} and {} each claim to be the older",
                  chain[i]->build_id.to_string(), id.to_string());
    }
  }
  return {};
}

/// The layers of the youngest layer's state, oldest first. Merged layers take the place of those
/// that they replace.
Result<std::vector<const Trailer*>> find_chain(std::span<const Trailer* const> trailers,
                                               const AncestorIndex& ancestors,
                                               std::size_t youngest) {
  std::map<Uuid, const Trailer*> present;
  for (const Trailer* trailer : trailers) {
    if (!ancestors.is_above_all_replaced(youngest, *trailer)) continue;
    for (const Uuid& replaced : trailer->replaces) present.try_emplace(replaced, trailer);
  }
  for (const Trailer* trailer : trailers) present[trailer->build_id] = trailer;

  std::vector<const Trailer*> chain;
  std::set<const Trailer*> placed;
  // From the youngest to the oldest: a merged layer takes the place of the youngest that it
  // replaces.
  for (const Uuid& id : std::views::reverse(trailers[youngest]->chain)) {
    const auto found = present.find(id);
    if (found == present.end()) {
      return fail(ErrorKind::kNotFound, "layer {} is missing from this directory", id.to_string());
    }
    if (placed.insert(found->second).second) chain.push_back(found->second);
  }
  std::reverse(chain.begin(), chain.end());
  chain.push_back(trailers[youngest]);
  LAMINA_RETURN_IF_ERROR(check_order(chain));
  return chain;
}

std::vector<mapping::Extent> stored_changes(const Trailer& trailer) {
  std::vector<mapping::Extent> changes;
  changes.reserve(trailer.extents.size());
  for (const mapping::StoredExtent& extent : trailer.extents) {
    changes.push_back(
        {extent.guest_block, extent.block_count, mapping::kNewLayer, extent.storage_block});
  }
  return changes;
}

/// Checks that every block that no layer stores is listed as zero by the youngest layer.
Status check_covered(const mapping::Mapping& mapping, const Trailer& youngest) {
  const auto& zeros = youngest.zeros;
  auto zero = zeros.begin();
  for (std::size_t i = 0; i < mapping.extent_count(); ++i) {
    const mapping::Extent extent = mapping.extent(i);
    if (extent.layer != mapping::kZeros) continue;
    while (zero != zeros.end() && zero->end() <= extent.guest_block) {
      ++zero;
    }
    if (zero == zeros.end() || zero->first > extent.guest_block ||
        zero->end() < extent.guest_end()) {
      return fail(ErrorKind::kCorrupt,
                  "the memory at [{:#x}, {:#x}) is neither zero nor stored in any layer here",
                  extent.guest_block * kBlockBytes, extent.guest_end() * kBlockBytes);
    }
  }
  return {};
}

}  // namespace

Result<RebuiltState> rebuild_state(std::span<const Trailer* const> trailers) {
  if (trailers.empty()) return fail(ErrorKind::kNotFound, "there is no layer with a trailer");
  const AncestorIndex ancestors(trailers);
  LAMINA_ASSIGN_OR_RETURN(const std::size_t number, find_youngest(trailers, ancestors));
  LAMINA_ASSIGN_OR_RETURN(const std::vector<const Trailer*> chain,
                          find_chain(trailers, ancestors, number));
  const Trailer* youngest = trailers[number];

  const auto block_count = static_cast<std::uint32_t>(blocks_for(youngest->memory_bytes));
  mapping::Mapping state = mapping::Mapping::zeros(block_count);
  for (const Trailer* trailer : chain) {
    if (trailer->memory_bytes != youngest->memory_bytes) {
      return fail(ErrorKind::kCorrupt, "layer {} is of {} bytes of memory, layer {} of {}",
                  trailer->build_id.to_string(), trailer->memory_bytes,
                  youngest->build_id.to_string(), youngest->memory_bytes);
    }
    LAMINA_ASSIGN_OR_RETURN(state,
                            mapping::overlay(state, trailer->build_id, stored_changes(*trailer)));
  }
  LAMINA_RETURN_IF_ERROR(check_covered(state, *youngest));
  // The youngest layer's zeros override all layers. That layer stays in the table even if it stores
  // nothing.
  mapping::MappingBuilder builder(state.extent_count() + 2 * youngest->zeros.size());
  std::vector<Uuid> ids(state.layers().begin(), state.layers().end());
  std::uint32_t done = 0;
  std::size_t hint = 0;
  for (const BlockRun& zero : youngest->zeros) {
    if (zero.first > done) builder.append_range(state, done, zero.first, hint);
    builder.append({zero.first, zero.count, mapping::kZeros, 0});
    done = zero.end();
  }
  if (done < block_count) builder.append_range(state, done, block_count, hint);
  const mapping::LayerIndex keep = state.layer_index(youngest->build_id);
  return RebuiltState{builder.finish(std::move(ids), {keep}), youngest->build_id,
                      youngest->pause_id, youngest->memory_bytes};
}

}  // namespace lamina::engine
