// The original program's mapping, as its functions CreateMapping, MergeMappings, NormalizeMappings
// and GetShiftedMapping have it: records of 40 bytes, a mark for each block where a record starts,
// and a lookup that walks back from a block to the nearest mark.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "lamina/uuid.h"

namespace lamina::bench {

/// [offset, offset + length) of the memory is at storage_offset of the file of `build`; a nil build
/// is zeros.
struct PlainRecord {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  Uuid build;
  std::uint64_t storage_offset = 0;

  bool operator==(const PlainRecord&) const = default;
};

using PlainMapping = std::vector<PlainRecord>;

/// A record for each run of set marks; storage grows with each set mark.
PlainMapping create_mapping(const Uuid& build, const std::vector<std::uint8_t>& marks);

/// `diff` laid over `base`, record by record.
PlainMapping merge_mappings(PlainMapping base, const PlainMapping& diff);

/// Joins neighbours of one build. (As in the original, without a look at their storage.)
PlainMapping normalize_mappings(const PlainMapping& mapping);

struct PlainHeader {
  std::uint64_t memory_bytes = 0;
  std::uint64_t generation = 0;
  Uuid build_id;
  Uuid base_build_id;
  PlainMapping mapping;

  /// Marks where records start. Must be called when `mapping` has changed.
  void index();

  struct Place {
    std::uint64_t storage_offset = 0;
    Uuid build;
  };
  /// Where the block at `offset` is; nothing when no record starts at or before it.
  [[nodiscard]] std::optional<Place> find(std::uint64_t offset) const;

 private:
  std::vector<std::uint8_t> block_starts_;
  std::unordered_map<std::uint64_t, std::size_t> start_map_;  // block to record
};

/// The version 1 header file.
std::vector<std::byte> serialize(const PlainHeader& header);

/// Reads one, without its index.
PlainHeader deserialize(std::span<const std::byte> bytes);

}  // namespace lamina::bench
