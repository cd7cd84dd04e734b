// The mapping: which layer holds which block of guest memory now.
//
// A mapping covers blocks [0, block_count) with extents, sorted, gapless, without overlap. Because
// nothing is left out, an extent needs no length: it ends where the next one starts. Kept in
// columns an extent so takes 10 bytes (start 4, storage 4, layer 2), and a lookup searches the
// dense array of starts alone: first every 64th of them, kept apart so that they stay in the cache,
// then the 64 between.
//
// Neighbours are joined only when they are adjacent in the guest *and* in storage, so a run of one
// extent can always be read with one read. Extents of zeros have no storage and always join.
//
// Rejected: a table with an entry per block (4 to 8 bytes for each 4 KiB of guest, touched in full
// by every overlay) and a tree of extents (48 bytes each, pointer chasing in the fault path).
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <vector>

#include "lamina/result.h"
#include "lamina/uuid.h"

namespace lamina::mapping {

/// Index of a layer in a mapping's table, counted from 1. 0 is no layer: zeros.
using LayerIndex = std::uint16_t;
inline constexpr LayerIndex kZeros = 0;
inline constexpr std::size_t kMaxLayers = 0xfffe;

/// A run of blocks: guest blocks [guest_block, guest_block + block_count) are blocks
/// [storage_block, …) of the layer's data, or zeros (layer == kZeros, storage_block == 0).
struct Extent {
  std::uint32_t guest_block = 0;
  std::uint32_t block_count = 0;
  LayerIndex layer = kZeros;
  std::uint32_t storage_block = 0;

  [[nodiscard]] std::uint32_t guest_end() const { return guest_block + block_count; }
  bool operator==(const Extent&) const = default;
};

/// Immutable and thread-safe for readers. Sizes: 10 bytes per extent, 16 per layer.
class Mapping {
 public:
  /// All zeros, no layers. REQUIRES: block_count >= 1.
  static Mapping zeros(std::uint32_t block_count);

  /// Checks untrusted extents: they must cover [0, block_count) in order without gap or overlap,
  /// name layers of the table, hold at least one block each, stay below 2^32 - 1 in storage, and
  /// zeros must have storage block 0. Layers must be distinct and not nil. Fails with kCorrupt
  /// naming the extent. Neighbours that can be joined are joined.
  static Result<Mapping> create(std::uint32_t block_count, std::vector<Uuid> layers,
                                std::span<const Extent> extents);

  [[nodiscard]] std::uint32_t block_count() const { return starts_.back(); }
  [[nodiscard]] std::size_t extent_count() const { return storage_.size(); }

  /// REQUIRES: index < extent_count().
  [[nodiscard]] Extent extent(std::size_t index) const {
    return {starts_[index], starts_[index + 1] - starts_[index], layer_[index], storage_[index]};
  }

  /// Index of the extent that holds `block`. O(log extents). REQUIRES: block < block_count().
  [[nodiscard]] std::size_t find(std::uint32_t block) const;

  /// The run that starts at `block`: the rest of its extent. REQUIRES: block < block_count().
  [[nodiscard]] Extent resolve(std::uint32_t block) const;

  /// The layers in chain order, oldest first; index i of an extent is layers()[i - 1].
  [[nodiscard]] std::span<const Uuid> layers() const { return layers_; }
  [[nodiscard]] const Uuid& layer_id(LayerIndex index) const { return layers_[index - 1]; }
  /// The index of a layer, or kZeros when the mapping has none of this id.
  [[nodiscard]] LayerIndex layer_index(const Uuid& id) const;

  /// The columns, for encoding: extent_count() entries each.
  [[nodiscard]] std::span<const std::uint32_t> starts() const {
    return std::span(starts_).first(storage_.size());
  }
  [[nodiscard]] std::span<const std::uint32_t> storage() const { return storage_; }
  [[nodiscard]] std::span<const LayerIndex> layer_column() const { return layer_; }

  bool operator==(const Mapping&) const = default;

 private:
  friend class MappingBuilder;
  Mapping() = default;

  static constexpr std::size_t kSampleStride = 64;

  std::vector<Uuid> layers_;
  std::vector<std::uint32_t> starts_;   // one more than extents: the last is block_count
  std::vector<std::uint32_t> storage_;  // per extent
  std::vector<LayerIndex> layer_;       // per extent
  std::vector<std::uint32_t> samples_;  // every kSampleStride-th of starts_
};

/// Appends extents in guest order and joins what can be joined. For trusted input: what comes from
/// outside goes through Mapping::create.
class MappingBuilder {
 public:
  explicit MappingBuilder(std::size_t expected_extents);

  /// REQUIRES: extent.guest_block is where the last one ended (0 at first); block_count >= 1.
  void append(const Extent& extent);

  /// Appends blocks [from, to) as `source` maps them; `hint` is the index of an extent of `source`
  /// at or before `from`, and is moved on to the one that holds `to`. REQUIRES: from < to.
  void append_range(const Mapping& source, std::uint32_t from, std::uint32_t to, std::size_t& hint);

  /// The finished mapping. Layers of `layers` that no extent references are dropped, except those
  /// of `keep`; the indices are renumbered.
  Mapping finish(std::vector<Uuid> layers, std::initializer_list<LayerIndex> keep);

  /// The same, with the table as it is.
  Mapping finish_keeping_all(std::vector<Uuid> layers);

 private:
  void drop_unreferenced(std::initializer_list<LayerIndex> keep);

  Mapping mapping_;
  std::uint32_t end_ = 0;
};

}  // namespace lamina::mapping
