#include "mapping/mapping.h"

#include <algorithm>
#include <cassert>
#include <set>

#include "base/block.h"
#include "base/error.h"

namespace lamina::mapping {
namespace {

bool joins(const Extent& before, const Extent& after) {
  if (before.layer != after.layer) return false;
  return before.layer == kZeros || before.storage_block + before.block_count == after.storage_block;
}

Status check_extent(const Extent& extent, std::size_t index, std::uint64_t expected_start,
                    std::uint64_t block_count, std::size_t layer_count) {
  if (extent.guest_block != expected_start) {
    return fail(
        ErrorKind::kCorrupt, "extent {} starts at {:#x}, {} {:#x} where the one before ends", index,
        extent.guest_block * kBlockBytes, extent.guest_block < expected_start ? "before" : "past",
        expected_start * kBlockBytes);
  }
  if (extent.block_count == 0) return fail(ErrorKind::kCorrupt, "extent {} is empty", index);
  const std::uint64_t end = std::uint64_t{extent.guest_block} + extent.block_count;
  if (end > block_count) {
    return fail(ErrorKind::kCorrupt, "extent {} ends at {:#x}, past the memory's end {:#x}", index,
                end * kBlockBytes, block_count * kBlockBytes);
  }
  if (extent.layer > layer_count) {
    return fail(ErrorKind::kCorrupt, "extent {} names layer {} of {}", index, extent.layer,
                layer_count);
  }
  if (extent.layer == kZeros && extent.storage_block != 0) {
    return fail(ErrorKind::kCorrupt, "extent {} is zeros but has storage offset {:#x}", index,
                extent.storage_block * kBlockBytes);
  }
  if (std::uint64_t{extent.storage_block} + extent.block_count > kMaxBlocks) {
    return fail(ErrorKind::kCorrupt,
                "extent {} has storage offset {:#x}, past what a layer can hold", index,
                extent.storage_block * kBlockBytes);
  }
  return {};
}

/// Index of the last start that is at or below `block`. REQUIRES: the first one is.
std::size_t last_at_or_below(std::span<const std::uint32_t> starts, std::uint32_t block) {
  // Branch-free: the compiler emits a conditional move, so that a step costs a cache miss but not a
  // mispredicted branch as well.
  const std::uint32_t* base = starts.data();
  std::size_t count = starts.size();
  while (count > 1) {
    const std::size_t half = count / 2;
    base = base[half] <= block ? base + half : base;
    count -= half;
  }
  return static_cast<std::size_t>(base - starts.data());
}

}  // namespace

Mapping Mapping::zeros(std::uint32_t block_count) {
  MappingBuilder builder(1);
  builder.append({0, block_count, kZeros, 0});
  return builder.finish({}, {});
}

Result<Mapping> Mapping::create(std::uint32_t block_count, std::vector<Uuid> layers,
                                std::span<const Extent> extents) {
  if (block_count == 0) return fail(ErrorKind::kCorrupt, "the memory has no blocks");
  if (layers.size() > kMaxLayers) {
    return fail(ErrorKind::kCorrupt, "{} layers; at most {} are supported", layers.size(),
                kMaxLayers);
  }
  std::set<Uuid> distinct;
  for (const Uuid& layer : layers) {
    if (layer.is_nil()) return fail(ErrorKind::kCorrupt, "a layer has the nil build id");
    if (!distinct.insert(layer).second) {
      return fail(ErrorKind::kCorrupt, "layer {} is listed twice", layer.to_string());
    }
  }
  MappingBuilder builder(extents.size());
  std::uint64_t end = 0;
  for (std::size_t i = 0; i < extents.size(); ++i) {
    LAMINA_RETURN_IF_ERROR(check_extent(extents[i], i, end, block_count, layers.size()));
    builder.append(extents[i]);
    end += extents[i].block_count;
  }
  if (end != block_count) {
    return fail(ErrorKind::kCorrupt, "the extents end at {:#x}, before the memory's end {:#x}",
                end * kBlockBytes, block_count * kBlockBytes);
  }
  return builder.finish_keeping_all(std::move(layers));
}

std::size_t Mapping::find(std::uint32_t block) const {
  const std::size_t window = last_at_or_below(samples_, block) * kSampleStride;
  const auto starts = this->starts().subspan(window);
  return window + last_at_or_below(starts.first(std::min(starts.size(), kSampleStride)), block);
}

Extent Mapping::resolve(std::uint32_t block) const {
  Extent run = extent(find(block));
  const std::uint32_t skipped = block - run.guest_block;
  run.guest_block = block;
  run.block_count -= skipped;
  if (run.layer != kZeros) run.storage_block += skipped;
  return run;
}

LayerIndex Mapping::layer_index(const Uuid& id) const {
  const auto found = std::find(layers_.begin(), layers_.end(), id);
  if (found == layers_.end()) return kZeros;
  return static_cast<LayerIndex>(found - layers_.begin() + 1);
}

MappingBuilder::MappingBuilder(std::size_t expected_extents) {
  mapping_.starts_.reserve(expected_extents + 1);
  mapping_.storage_.reserve(expected_extents);
  mapping_.layer_.reserve(expected_extents);
}

void MappingBuilder::append(const Extent& extent) {
  assert(extent.guest_block == end_ && extent.block_count > 0);
  end_ = extent.guest_end();
  if (!mapping_.storage_.empty()) {
    const std::uint32_t start = mapping_.starts_.back();
    const Extent last{start, extent.guest_block - start, mapping_.layer_.back(),
                      mapping_.storage_.back()};
    if (joins(last, extent)) return;
  }
  mapping_.starts_.push_back(extent.guest_block);
  mapping_.storage_.push_back(extent.storage_block);
  mapping_.layer_.push_back(extent.layer);
}

void MappingBuilder::append_range(const Mapping& source, std::uint32_t from, std::uint32_t to,
                                  std::size_t& hint) {
  // The extent is often nearby: try a few steps before a lookup.
  const auto index_of = [&](std::uint32_t block) {
    constexpr std::size_t kSteps = 4;
    for (std::size_t i = hint; i < std::min(hint + kSteps, source.extent_count()); ++i) {
      if (block < source.starts_[i + 1]) return i;
    }
    return block < source.block_count() ? source.find(block) : source.extent_count() - 1;
  };
  hint = index_of(from);
  const std::size_t first = hint;
  hint = index_of(to);
  // The first and the last extent may be cut and may join their neighbours. Those between are
  // already joined and are copied unchanged.
  const auto append_cut = [&](std::size_t index) {
    const Extent whole = source.extent(index);
    const std::uint32_t start = std::max(from, whole.guest_block);
    const std::uint32_t end = std::min(to, whole.guest_end());
    if (start >= end) return;
    const std::uint32_t storage =
        whole.layer == kZeros ? 0 : whole.storage_block + (start - whole.guest_block);
    append({start, end - start, whole.layer, storage});
  };
  append_cut(first);
  if (hint == first) return;
  const auto begin = static_cast<std::ptrdiff_t>(first + 1);
  const auto end = static_cast<std::ptrdiff_t>(hint);
  mapping_.starts_.insert(mapping_.starts_.end(), source.starts_.begin() + begin,
                          source.starts_.begin() + end);
  mapping_.storage_.insert(mapping_.storage_.end(), source.storage_.begin() + begin,
                           source.storage_.begin() + end);
  mapping_.layer_.insert(mapping_.layer_.end(), source.layer_.begin() + begin,
                         source.layer_.begin() + end);
  end_ = source.starts_[hint];
  append_cut(hint);
}

Mapping MappingBuilder::finish(std::vector<Uuid> layers, std::initializer_list<LayerIndex> keep) {
  mapping_.layers_ = std::move(layers);
  drop_unreferenced(keep);
  return finish_keeping_all(std::move(mapping_.layers_));
}

Mapping MappingBuilder::finish_keeping_all(std::vector<Uuid> layers) {
  mapping_.starts_.push_back(end_);
  mapping_.layers_ = std::move(layers);
  const std::size_t count = mapping_.extent_count();
  mapping_.samples_.reserve((count + Mapping::kSampleStride - 1) / Mapping::kSampleStride);
  for (std::size_t i = 0; i < count; i += Mapping::kSampleStride) {
    mapping_.samples_.push_back(mapping_.starts_[i]);
  }
  return std::move(mapping_);
}

void MappingBuilder::drop_unreferenced(std::initializer_list<LayerIndex> keep) {
  // Stops once all layers have been seen, usually after a few of possibly a million extents.
  std::vector<bool> used(mapping_.layers_.size() + 1, false);
  std::size_t unseen = used.size();
  const auto see = [&](LayerIndex layer) {
    if (used[layer]) return;
    used[layer] = true;
    --unseen;
  };
  see(kZeros);
  for (const LayerIndex layer : keep) see(layer);
  for (std::size_t i = 0; i < mapping_.layer_.size() && unseen > 0; ++i) see(mapping_.layer_[i]);
  std::vector<LayerIndex> renumbered(used.size(), kZeros);
  std::vector<Uuid> kept;
  for (std::size_t i = 1; i < used.size(); ++i) {
    if (!used[i]) continue;
    kept.push_back(mapping_.layers_[i - 1]);
    renumbered[i] = static_cast<LayerIndex>(kept.size());
  }
  if (kept.size() == mapping_.layers_.size()) return;
  mapping_.layers_ = std::move(kept);
  for (LayerIndex& layer : mapping_.layer_) layer = renumbered[layer];
}

}  // namespace lamina::mapping
