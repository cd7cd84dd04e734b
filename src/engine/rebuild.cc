#include "engine/rebuild.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/block.h"
#include "base/error.h"
#include "mapping/overlay.h"

namespace lamina::engine {
namespace {

using format::Trailer;

bool contains(const std::vector<Uuid>& ids, const Uuid& id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

/// True when every layer that `merged` replaced is one that `younger` was published on top of: only
/// then does `merged` stand for them below `younger`. (A fork has some of them in its chain, not
/// all: what was merged holds a sibling's blocks.)
bool stands_below(const Trailer& merged, const Trailer& younger) {
  return !merged.replaces.empty() &&
         std::all_of(merged.replaces.begin(), merged.replaces.end(),
                     [&](const Uuid& id) { return contains(younger.chain, id); });
}

/// True when `younger` was published on top of `older`, or of what `older` replaced.
bool is_older(const Trailer& older, const Trailer& younger) {
  if (&older == &younger) return false;
  return contains(younger.chain, older.build_id) || stands_below(older, younger);
}

Result<const Trailer*> find_youngest(std::span<const Trailer* const> trailers) {
  const Trailer* youngest = nullptr;
  for (const Trailer* candidate : trailers) {
    const bool covered = std::any_of(trailers.begin(), trailers.end(), [&](const Trailer* other) {
      return is_older(*candidate, *other) || contains(other->replaces, candidate->build_id);
    });
    if (covered) continue;
    if (youngest != nullptr) {
      return fail(
          ErrorKind::kCorrupt,
          "layers {} and {} both look like the youngest: this directory holds layers of more "
          "than one snapshot",
          youngest->build_id.to_string(), candidate->build_id.to_string());
    }
    youngest = candidate;
  }
  if (youngest == nullptr)
    return fail(ErrorKind::kCorrupt, "the layers name each other in a circle");
  return youngest;
}

/// The layers of the youngest one's state, oldest first, with merged ones in the place of those
/// that they replace.
Result<std::vector<const Trailer*>> find_chain(std::span<const Trailer* const> trailers,
                                               const Trailer& youngest) {
  std::map<Uuid, const Trailer*> present;
  for (const Trailer* trailer : trailers) {
    if (!stands_below(*trailer, youngest)) continue;
    for (const Uuid& replaced : trailer->replaces) present.try_emplace(replaced, trailer);
  }
  for (const Trailer* trailer : trailers) present[trailer->build_id] = trailer;

  std::vector<const Trailer*> chain;
  for (const Uuid& id : youngest.chain) {
    const auto found = present.find(id);
    if (found == present.end()) {
      return fail(ErrorKind::kNotFound, "layer {} is needed, and is not in this directory",
                  id.to_string());
    }
    // Of several replaced ones the youngest gives the merged layer its place.
    std::erase(chain, found->second);
    chain.push_back(found->second);
  }
  chain.push_back(&youngest);
  // Of layers whose order was not known when they were listed (under a version 1 header) the
  // trailers may know better: then the chain's order is no ground to build on.
  for (std::size_t i = 0; i < chain.size(); ++i) {
    for (std::size_t later = i + 1; later < chain.size(); ++later) {
      if (!contains(chain[i]->chain, chain[later]->build_id)) continue;
      return fail(ErrorKind::kCorrupt, "layers {} and {} each claim to be the older",
                  chain[i]->build_id.to_string(), chain[later]->build_id.to_string());
    }
  }
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
  LAMINA_ASSIGN_OR_RETURN(const Trailer* youngest, find_youngest(trailers));
  LAMINA_ASSIGN_OR_RETURN(const std::vector<const Trailer*> chain, find_chain(trailers, *youngest));

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
  // The youngest layer's zeros lie over everything, and it stays in the table even if it stores
  // nothing: put its zeros and its data on what is below it.
  mapping::MappingBuilder builder(state.extent_count() + 2 * youngest->zeros.size());
  std::vector<Uuid> layers(state.layers().begin(), state.layers().end());
  std::uint32_t done = 0;
  std::size_t hint = 0;
  for (const format::BlockRun& zero : youngest->zeros) {
    if (zero.guest_block > done) builder.append_range(state, done, zero.guest_block, hint);
    builder.append({zero.guest_block, zero.block_count, mapping::kZeros, 0});
    done = zero.guest_block + zero.block_count;
  }
  if (done < block_count) builder.append_range(state, done, block_count, hint);
  const mapping::LayerIndex keep = state.layer_index(youngest->build_id);
  return RebuiltState{builder.finish(std::move(layers), {keep}), youngest->build_id,
                      youngest->pause_id, youngest->memory_bytes};
}

}  // namespace lamina::engine
