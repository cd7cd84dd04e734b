#include "engine/rebuild.h"

#include <algorithm>
#include <map>
#include <ranges>
#include <set>

#include "base/block.h"
#include "base/error.h"
#include "mapping/overlay.h"

namespace lamina::engine {
namespace {

using format::Trailer;

/// A trailer with the ids that it names, to be looked up: a directory may hold very many layers.
class Named {
 public:
  explicit Named(const Trailer& trailer)
      : trailer_(&trailer), chain_(trailer.chain.begin(), trailer.chain.end()) {}

  [[nodiscard]] const Trailer& trailer() const { return *trailer_; }

  /// True when this one was published on top of layer `id`.
  [[nodiscard]] bool stands_on(const Uuid& id) const { return chain_.contains(id); }

  /// True when every layer that `merged` replaced is one that this one was published on top of:
  /// only then does `merged` stand for them below it. (A fork has some of them in its chain, not
  /// all: what was merged holds a sibling's blocks.)
  [[nodiscard]] bool stands_on_what_was_merged_in(const Trailer& merged) const {
    return !merged.replaces.empty() &&
           std::all_of(merged.replaces.begin(), merged.replaces.end(),
                       [this](const Uuid& id) { return stands_on(id); });
  }

 private:
  const Trailer* trailer_;
  std::set<Uuid> chain_;
};

/// The layer that no other one was published on top of, or replaced.
Result<const Named*> find_youngest(const std::vector<Named>& layers) {
  std::set<Uuid> covered;
  for (const Named& layer : layers) {
    const Trailer& trailer = layer.trailer();
    covered.insert(trailer.replaces.begin(), trailer.replaces.end());
    for (const Uuid& id : trailer.chain) {
      if (id != trailer.build_id) covered.insert(id);
    }
  }
  const Named* youngest = nullptr;
  for (const Named& candidate : layers) {
    const Trailer& trailer = candidate.trailer();
    if (covered.contains(trailer.build_id)) continue;
    if (std::any_of(layers.begin(), layers.end(), [&](const Named& other) {
          return &other != &candidate && other.stands_on_what_was_merged_in(trailer);
        })) {
      continue;
    }
    if (youngest != nullptr) {
      return fail(
          ErrorKind::kCorrupt,
          "layers {} and {} both look like the youngest: this directory holds layers of more "
          "than one snapshot",
          youngest->trailer().build_id.to_string(), trailer.build_id.to_string());
    }
    youngest = &candidate;
  }
  if (youngest == nullptr) {
    return fail(ErrorKind::kCorrupt, "the layers name each other in a circle");
  }
  return youngest;
}

/// Of layers whose order was not known when they were listed (under a version 1 header) the
/// trailers may know better: then the chain's order is no ground to build on.
Status check_order(const std::vector<const Named*>& chain) {
  std::map<Uuid, std::size_t> place;
  for (std::size_t i = 0; i < chain.size(); ++i) place[chain[i]->trailer().build_id] = i;
  for (std::size_t i = 0; i < chain.size(); ++i) {
    for (const Uuid& id : chain[i]->trailer().chain) {
      const auto older = place.find(id);
      if (older == place.end() || older->second <= i) continue;
      return fail(ErrorKind::kCorrupt, "layers {} and {} each claim to be the older",
                  chain[i]->trailer().build_id.to_string(), id.to_string());
    }
  }
  return {};
}

/// The layers of the youngest one's state, oldest first, with merged ones in the place of those
/// that they replace.
Result<std::vector<const Named*>> find_chain(const std::vector<Named>& layers,
                                             const Named& youngest) {
  std::map<Uuid, const Named*> present;
  for (const Named& layer : layers) {
    if (!youngest.stands_on_what_was_merged_in(layer.trailer())) continue;
    for (const Uuid& replaced : layer.trailer().replaces) present.try_emplace(replaced, &layer);
  }
  for (const Named& layer : layers) present[layer.trailer().build_id] = &layer;

  std::vector<const Named*> chain;
  std::set<const Named*> placed;
  // From the youngest down: of several replaced ones the youngest gives the merged layer its place.
  for (const Uuid& id : std::views::reverse(youngest.trailer().chain)) {
    const auto found = present.find(id);
    if (found == present.end()) {
      return fail(ErrorKind::kNotFound, "layer {} is needed, and is not in this directory",
                  id.to_string());
    }
    if (placed.insert(found->second).second) chain.push_back(found->second);
  }
  std::reverse(chain.begin(), chain.end());
  chain.push_back(&youngest);
  LAMINA_RETURN_IF_ERROR(check_order(chain));
  return chain;
}

std::vector<mapping::Change> stored_changes(const Trailer& trailer) {
  std::vector<mapping::Change> changes;
  changes.reserve(trailer.extents.size());
  for (const format::StoredExtent& extent : trailer.extents) {
    changes.push_back({extent.guest_block, extent.block_count, false, extent.storage_block});
  }
  return changes;
}

/// Checks that every block without storage is one that the youngest layer knows to be zero.
Status check_covered(const mapping::Mapping& mapping, const Trailer& youngest) {
  const auto& zeros = youngest.zeros;
  auto zero = zeros.begin();
  for (std::size_t i = 0; i < mapping.extent_count(); ++i) {
    const mapping::Extent extent = mapping.extent(i);
    if (extent.layer != mapping::kZeros) continue;
    while (zero != zeros.end() && zero->guest_block + zero->block_count <= extent.guest_block) {
      ++zero;
    }
    if (zero == zeros.end() || zero->guest_block > extent.guest_block ||
        zero->guest_block + zero->block_count < extent.guest_end()) {
      return fail(ErrorKind::kCorrupt,
                  "the memory at [{:#x}, {:#x}) is neither zeros nor stored in any layer here",
                  extent.guest_block * kBlockBytes, extent.guest_end() * kBlockBytes);
    }
  }
  return {};
}

}  // namespace

Result<RebuiltState> rebuild_state(std::span<const Trailer* const> trailers) {
  if (trailers.empty()) return fail(ErrorKind::kNotFound, "there is no layer with a trailer");
  std::vector<Named> layers;
  layers.reserve(trailers.size());
  for (const Trailer* trailer : trailers) layers.emplace_back(*trailer);
  LAMINA_ASSIGN_OR_RETURN(const Named* youngest_layer, find_youngest(layers));
  LAMINA_ASSIGN_OR_RETURN(const std::vector<const Named*> chain,
                          find_chain(layers, *youngest_layer));
  const Trailer* youngest = &youngest_layer->trailer();

  const auto block_count = static_cast<std::uint32_t>(blocks_for(youngest->memory_bytes));
  mapping::Mapping state = mapping::Mapping::zeros(block_count);
  for (const Named* layer : chain) {
    const Trailer* trailer = &layer->trailer();
    if (trailer->memory_bytes != youngest->memory_bytes) {
      return fail(ErrorKind::kCorrupt, "layer {} is of {} bytes of memory, layer {} of {}",
                  trailer->build_id.to_string(), trailer->memory_bytes,
                  youngest->build_id.to_string(), youngest->memory_bytes);
    }
    LAMINA_ASSIGN_OR_RETURN(state,
                            mapping::overlay(state, trailer->build_id, stored_changes(*trailer)));
  }
  LAMINA_RETURN_IF_ERROR(check_covered(state, *youngest));
  // The youngest layer's zeros lie over everything, and it stays in the table even if it stores
  // nothing: put its zeros and its data on what is below it.
  mapping::MappingBuilder builder(state.extent_count() + 2 * youngest->zeros.size());
  std::vector<Uuid> ids(state.layers().begin(), state.layers().end());
  std::uint32_t done = 0;
  std::size_t hint = 0;
  for (const format::BlockRun& zero : youngest->zeros) {
    if (zero.guest_block > done) builder.append_range(state, done, zero.guest_block, hint);
    builder.append({zero.guest_block, zero.block_count, mapping::kZeros, 0});
    done = zero.guest_block + zero.block_count;
  }
  if (done < block_count) builder.append_range(state, done, block_count, hint);
  const mapping::LayerIndex keep = state.layer_index(youngest->build_id);
  return RebuiltState{builder.finish(std::move(ids), {keep}), youngest->build_id,
                      youngest->pause_id, youngest->memory_bytes};
}

}  // namespace lamina::engine
