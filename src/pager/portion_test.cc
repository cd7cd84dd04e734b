#include "pager/portion.h"

#include <gtest/gtest.h>

#include <vector>

namespace lamina::pager {
namespace {

constexpr std::uint64_t kPage = 4096;

/// Two regions that are adjacent in the memory file; the first has 100 blocks.
RegionTable two_regions() {
  return *RegionTable::create(
      {{0x10000000, 100 * kPage, 0, kPage}, {0x20000000, 900 * kPage, 100 * kPage, kPage}},
      1000 * kPage);
}

std::vector<Piece> joined(std::vector<Piece> pieces) {
  pieces.resize(join_pieces(pieces, two_regions()));
  return pieces;
}

TEST(Portion, PiecesAreSortedAndAdjacentOnesJoined) {
  EXPECT_EQ(joined({{{30, 2}, false}, {{10, 5}, false}, {{32, 1}, false}, {{15, 5}, false}}),
            (std::vector<Piece>{{{10, 10}, false, 0}, {{30, 3}, false, 10}}));
}

TEST(Portion, OverlappingPiecesAreJoined) {
  EXPECT_EQ(joined({{{10, 8}, false}, {{12, 2}, false}, {{15, 9}, false}, {{10, 1}, false}}),
            (std::vector<Piece>{{{10, 14}, false, 0}}));
}

TEST(Portion, ZerosAreNotJoinedToDataAndNeedNoBuffer) {
  EXPECT_EQ(joined({{{20, 5}, false}, {{10, 5}, false}, {{15, 5}, true}}),
            (std::vector<Piece>{{{10, 5}, false, 0}, {{15, 5}, true, 5}, {{20, 5}, false, 5}}));
}

TEST(Portion, PiecesAreNotJoinedAcrossRegions) {
  EXPECT_EQ(joined({{{100, 5}, false}, {{95, 5}, false}}),
            (std::vector<Piece>{{{95, 5}, false, 0}, {{100, 5}, false, 5}}));
}

TEST(Portion, NoPiecesAreJoinedToNone) { EXPECT_EQ(joined({}), std::vector<Piece>{}); }

}  // namespace
}  // namespace lamina::pager
