// The compact form of a header's extents: two bytes for each, and more only where they do not
// suffice. docs/format.md describes the bytes, docs/decisions/0055 the choice.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "lamina/result.h"
#include "mapping/mapping.h"

namespace lamina::format {

/// Fewest bytes of an extent in this form.
inline constexpr std::size_t kMinCompactExtentBytes = 2;
/// Most extents in this form: what they take in memory, 16 bytes each while they are decoded, has
/// the same bound as with columns.
inline constexpr std::uint32_t kMaxCompactExtents = std::uint32_t{1} << 27;

/// The section with the extents of `mapping`.
std::vector<std::byte> encode_compact_extents(const mapping::Mapping& mapping);

/// Decodes `count` extents. Checks that they end at `block_count`, refer to layers up to
/// `layer_count`, and use all of `section` (kCorrupt); Mapping::create() checks the rest. Allocates
/// only after `count` has been compared with the size of `section`.
Result<std::vector<mapping::Extent>> decode_compact_extents(std::span<const std::byte> section,
                                                            std::uint32_t count,
                                                            std::size_t layer_count,
                                                            std::uint32_t block_count);

}  // namespace lamina::format
