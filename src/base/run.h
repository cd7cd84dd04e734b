// Runs of blocks and of bytes.
#pragma once

#include <cstdint>

namespace lamina {

/// Blocks [first, end()). Block numbers fit in 32 bits (base/block.h), and so does end().
struct BlockRun {
  std::uint32_t first = 0;
  std::uint32_t count = 0;

  [[nodiscard]] std::uint32_t end() const { return first + count; }
  bool operator==(const BlockRun&) const = default;
};

/// Bytes [offset, end()) of a file.
struct ByteRange {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;

  [[nodiscard]] std::uint64_t end() const { return offset + length; }
  bool operator==(const ByteRange&) const = default;
};

}  // namespace lamina
