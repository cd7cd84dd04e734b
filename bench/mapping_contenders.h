// Contenders in memory, on one thread, over a mapping of many extents and the same as the original
// keeps it: lookups, an overlay, and the header as bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "bench.h"
#include "format/header.h"
#include "lamina/result.h"
#include "mapping/overlay.h"
#include "plain_mapping.h"

namespace lamina::bench {

class MappingContenders {
 public:
  struct Sizes {
    std::uint32_t extents = 0;
    std::uint32_t lookups = 0;
    std::uint32_t changes = 0;  ///< extents that are laid over
    bool plain = true;          ///< whether the original's mapping takes part
  };
  /// Draws the mapping. The object must outlive its contenders.
  static Result<std::unique_ptr<MappingContenders>> create(const Sizes& sizes);

  /// Blocks at random places. Floor: one read of each column, at a random place.
  std::vector<Contender> lookups();
  /// Floor: one copy of the columns into fresh memory.
  std::vector<Contender> overlays();
  /// The header's bytes made, or read and checked. Plain: version 1, with the index that its lookup
  /// needs. Floor: one copy of the bytes into fresh memory.
  std::vector<Contender> encodings();
  std::vector<Contender> decodings();

 private:
  MappingContenders() = default;

  Status draw(const Sizes& sizes);
  void draw_changes(const Sizes& sizes, std::uint32_t end);
  /// Adds up the place of each block: what the timed loops compute must be used.
  [[nodiscard]] std::uint64_t sum_ours() const;
  [[nodiscard]] std::uint64_t sum_plain() const;
  [[nodiscard]] std::uint64_t sum_floor() const;
  [[nodiscard]] Status check_overlay() const;
  Contender copy_of(const std::vector<std::byte>& bytes);

  bool has_plain_ = true;
  format::Header header_;
  PlainHeader plain_;
  std::vector<std::uint32_t> blocks_;  // to look up
  std::vector<mapping::Extent> changes_;
  PlainMapping plain_changes_;
  Uuid new_layer_ = Uuid::random();

  // What the contenders make.
  std::uint64_t ours_sum_ = 0;
  std::uint64_t plain_sum_ = 0;
  std::uint64_t floor_sum_ = 0;
  mapping::Mapping overlaid_ = mapping::Mapping::zeros(1);
  PlainMapping plain_overlaid_;
  format::Header decoded_;
  PlainHeader plain_decoded_;
  std::vector<std::byte> bytes_;
  std::vector<std::byte> plain_bytes_;
  std::vector<std::byte> made_;
};

}  // namespace lamina::bench
