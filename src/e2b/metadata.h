// metadata.json of an E2B build. lamina reads one thing from it: the pages to prefetch at a resume.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "format/working_set.h"
#include "lamina/result.h"
#include "lamina/uuid.h"

namespace lamina::e2b {

inline constexpr std::uint64_t kMaxMetadataBytes = std::uint64_t{64} << 20;

/// The prefetch list as a working set: blocks in the order of the list, without those outside the
/// memory and those that came before. Absent: there is none, or it is empty. kCorrupt: the bytes
/// are not JSON, or the list does not have the form that it should have.
Result<std::optional<format::WorkingSet>> working_set_of(std::span<const std::byte> metadata,
                                                         std::uint64_t memory_bytes);

/// metadata.json of `build`. `before` is that of the build that was imported, or empty: what it has
/// besides the build's id and the prefetch list stays. The list has a page of `block_bytes` once,
/// where the working set has it first. kCorrupt: `before` is not a JSON object.
Result<std::string> make_metadata(std::span<const std::byte> before, const Uuid& build,
                                  const std::optional<format::WorkingSet>& working_set,
                                  std::uint64_t block_bytes);

}  // namespace lamina::e2b
