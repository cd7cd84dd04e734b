// The pack of a working set as the manifest describes it (working_set_pack.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/run.h"
#include "remote/file_parts.h"

namespace lamina::remote {

/// A pack has at most so many blocks (256 MiB). What a guest touches later is left out.
inline constexpr std::size_t kMaxPackBlocks = std::size_t{1} << 16;

/// The blocks of a pack.
struct PackContents {
  std::vector<BlockRun> runs;            ///< of guest blocks, by first touch; no block twice
  std::vector<std::uint64_t> checksums;  ///< of each block, as in the layers

  [[nodiscard]] std::uint32_t blocks() const {
    return static_cast<std::uint32_t>(checksums.size());
  }
  bool operator==(const PackContents&) const = default;
};

/// A pack as the manifest describes it.
struct WorkingSetPack {
  StoredObject object;
  PackContents contents;

  bool operator==(const WorkingSetPack&) const = default;
};

void put_pack(ByteWriter& writer, const WorkingSetPack& pack);
/// Reads untrusted bytes; where they end, the reader is no longer ok().
WorkingSetPack get_pack(ByteReader& reader);

/// What is wrong with the contents of a pack of a memory of that size; empty: nothing.
std::string_view flaw_of(const PackContents& contents, std::uint64_t memory_bytes);

}  // namespace lamina::remote
