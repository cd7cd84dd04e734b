#include "cli/memory_map.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "cli/terminal.h"

namespace lamina::cli {
namespace {

/// Memory of 256 blocks: 128 in layer 0, 64 of zeros, 64 in layer 1.
SnapshotInfo info_of_256_blocks() {
  constexpr std::uint64_t kPart = 64 * 4096;
  SnapshotInfo info;
  info.memory_bytes = 4 * kPart;
  info.layers.resize(2);
  info.extents = {{.offset_bytes = 0, .length_bytes = 2 * kPart, .layer = 0},
                  {.offset_bytes = 2 * kPart, .length_bytes = kPart, .layer = std::nullopt},
                  {.offset_bytes = 3 * kPart, .length_bytes = kPart, .layer = 1}};
  return info;
}

TEST(MemoryMap, APlainOneHasCharactersOnly) {
  const std::string row0(64, '0');
  EXPECT_EQ(draw_memory_map(info_of_256_blocks(), MapStyle::kPlain),
            row0 + "\n" + row0 + "\n" + std::string(64, '.') + "\n" + std::string(64, '1') +
                "\none character is 4 KiB\n");
}

TEST(MemoryMap, HalfBlocksShowTwoRowsInOne) {
  const std::string drawing = draw_memory_map(info_of_256_blocks(), MapStyle::kHalfBlocks);
  // Rows 0 and 1 in one line, rows 2 and 3 in the next, then the legend.
  EXPECT_EQ(std::count(drawing.begin(), drawing.end(), '\n'), 4);
  EXPECT_TRUE(drawing.starts_with("\x1b[38;5;31m\x1b[48;5;31m▀")) << drawing;
  EXPECT_NE(drawing.find("\n\x1b[38;5;236m\x1b[48;5;208m▀"), std::string::npos) << drawing;
  EXPECT_NE(drawing.find("■\x1b[0m zeros  "), std::string::npos) << drawing;
  EXPECT_TRUE(drawing.ends_with("■\x1b[0m 1\none half character is 4 KiB\n")) << drawing;
}

TEST(Bar, IsAsLongAsItsShare) {
  EXPECT_EQ(bar_of(1, 2, 4, false), "##");
  EXPECT_EQ(bar_of(1, 2, 4, true), "██");
  EXPECT_EQ(bar_of(5, 16, 4, true), "█▎");
  EXPECT_EQ(bar_of(3, 2, 4, false), "####");
  EXPECT_EQ(bar_of(1, 1000, 4, false), "#");
  EXPECT_EQ(bar_of(1, 1000, 4, true), "▏");
  EXPECT_EQ(bar_of(0, 2, 4, true), "");
  EXPECT_EQ(bar_of(1, 0, 4, true), "");
}

}  // namespace
}  // namespace lamina::cli
