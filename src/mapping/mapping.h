// The mapping: which layer holds each block of guest memory.
//
// A mapping covers blocks [0, block_count) with sorted extents, without gaps or overlaps. So an
// extent needs no length: it ends where the next one starts. Extents are stored in columns and take
// 10 bytes each (start 4, storage 4, layer 2). A lookup searches the dense array of starts only:
// first a separate array of every 64th start, which stays in the cache, then the 64 between.
//
// Adjacent extents are joined only if they are adjacent in the guest *and* in storage, so each
// extent can be read with one read. Extents of zeros have no storage and are always joined.
//
// Rejected: a table with an entry per block (4 to 8 bytes for each 4 KiB of guest memory, touched
// in full by every overlay), and a tree of extents (48 bytes each, pointer chasing in the fault
// path).
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <vector>

#include "lamina/result.h"
#include "lamina/uuid.h"
#include "mapping/extent.h"

namespace lamina::mapping {

/// Immutable; thread-safe. Takes 10 bytes per extent and 16 per layer.
class Mapping {
 public:
  /// All zeros, no layers. REQUIRES: block_count >= 1.
  static Mapping zeros(std::uint32_t block_count);

  /// Validates untrusted extents. They must cover [0, block_count) in order without gaps or
  /// overlaps, refer to layers of the table, have at least one block each, and stay below 2^32 - 1
  /// in storage; zeros must have storage block 0. Layers must be distinct and not nil. kCorrupt
  /// names the bad extent. Extents are joined where possible.
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

  /// The part of the extent of `block` that begins at `block`. REQUIRES: block < block_count().
  [[nodiscard]] Extent resolve(std::uint32_t block) const;

  /// The layers in chain order, oldest first. An extent's layer index i means layers()[i - 1].
  [[nodiscard]] std::span<const Uuid> layers() const { return layers_; }
  [[nodiscard]] const Uuid& layer_id(LayerIndex index) const { return layers_[index - 1]; }
  /// The index of the layer with this id; kZeros if there is none.
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

/// Builds a mapping from extents in guest order and joins them where possible. For trusted extents;
/// Mapping::create() validates untrusted ones.
class MappingBuilder {
 public:
  explicit MappingBuilder(std::size_t expected_extents);

  /// REQUIRES: extent.guest_block is the end of the previous extent (0 for the first one), and
  /// extent.block_count >= 1.
  void append(const Extent& extent);

  /// Appends blocks [from, to) as `source` maps them. `hint` is the index of an extent of `source`
  /// at or before `from`; it is set to the extent that holds `to`. REQUIRES: from < to.
  void append_range(const Mapping& source, std::uint32_t from, std::uint32_t to, std::size_t& hint);

  /// Returns the finished mapping. Drops layers that no extent references, except those in `keep`,
  /// and renumbers the indices.
  Mapping finish(std::vector<Uuid> layers, std::initializer_list<LayerIndex> keep);

  /// The same, but keeps all layers.
  Mapping finish_keeping_all(std::vector<Uuid> layers);

 private:
  void drop_unreferenced(std::initializer_list<LayerIndex> keep);

  Mapping mapping_;
  std::uint32_t end_ = 0;
};

}  // namespace lamina::mapping
