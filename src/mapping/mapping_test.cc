#include "mapping/mapping.h"

#include <gtest/gtest.h>

#include <random>

#include "mapping/statistics.h"

namespace lamina::mapping {
namespace {

Uuid id(std::uint8_t number) {
  Uuid uuid;
  uuid.bytes.fill(number);
  return uuid;
}

std::string error_of(std::uint32_t blocks, const std::vector<Uuid>& layers,
                     const std::vector<Extent>& extents) {
  const auto mapping = Mapping::create(blocks, layers, extents);
  return mapping ? "" : mapping.error().message;
}

TEST(Mapping, ZerosHaveOneExtentAndNoLayers) {
  const Mapping mapping = Mapping::zeros(7);
  EXPECT_EQ(mapping.block_count(), 7);
  EXPECT_EQ(mapping.extent_count(), 1);
  EXPECT_EQ(mapping.resolve(3), (Extent{3, 4, kZeros, 0}));
}

TEST(Mapping, ResolveReturnsTheRestOfTheExtent) {
  const auto mapping =
      Mapping::create(10, {id(1)}, std::vector<Extent>{{0, 2, kZeros, 0}, {2, 8, 1, 100}});
  ASSERT_TRUE(mapping);
  EXPECT_EQ(mapping->resolve(0), (Extent{0, 2, kZeros, 0}));
  EXPECT_EQ(mapping->resolve(2), (Extent{2, 8, 1, 100}));
  EXPECT_EQ(mapping->resolve(9), (Extent{9, 1, 1, 107}));
}

TEST(Mapping, NeighboursJoinOnlyWhenAdjacentInGuestAndStorage) {
  const auto joined = Mapping::create(4, {id(1)}, std::vector<Extent>{{0, 2, 1, 5}, {2, 2, 1, 7}});
  ASSERT_TRUE(joined);
  EXPECT_EQ(joined->extent_count(), 1);
  const auto apart = Mapping::create(4, {id(1)}, std::vector<Extent>{{0, 2, 1, 5}, {2, 2, 1, 8}});
  ASSERT_TRUE(apart);
  EXPECT_EQ(apart->extent_count(), 2);
}

TEST(Mapping, ExtentTakesAtMostSixteenBytes) {
  // The size of the columns per extent; the layer table does not grow with extents.
  const Mapping mapping = Mapping::zeros(1);
  EXPECT_LE(sizeof(mapping.starts()[0]) + sizeof(mapping.storage()[0]) +
                sizeof(mapping.layer_column()[0]),
            16);
}

TEST(Mapping, InvalidExtentsAreRejectedByNumber) {
  EXPECT_NE(error_of(4, {}, {}).find("before the memory's end"), std::string::npos);
  EXPECT_NE(error_of(4, {}, {{1, 3, kZeros, 0}}).find("extent 0 starts at 0x1000, past 0x0"),
            std::string::npos);
  EXPECT_NE(
      error_of(4, {}, {{0, 3, kZeros, 0}, {2, 2, kZeros, 0}}).find("extent 1 starts at 0x2000"),
      std::string::npos);
  EXPECT_NE(error_of(4, {}, {{0, 5, kZeros, 0}}).find("past the memory's end"), std::string::npos);
  EXPECT_NE(error_of(4, {}, {{0, 0, kZeros, 0}}).find("empty"), std::string::npos);
  EXPECT_NE(error_of(4, {id(1)}, {{0, 4, 2, 0}}).find("names layer 2 of 1"), std::string::npos);
  EXPECT_NE(error_of(4, {}, {{0, 4, kZeros, 9}}).find("is zeros but has storage"),
            std::string::npos);
  EXPECT_NE(error_of(4, {id(1)}, {{0, 4, 1, 0xffff'fffe}}).find("past what a layer can hold"),
            std::string::npos);
  EXPECT_NE(error_of(4, {id(1), id(1)}, {{0, 4, 1, 0}}).find("listed twice"), std::string::npos);
  EXPECT_NE(error_of(4, {Uuid{}}, {{0, 4, 1, 0}}).find("nil"), std::string::npos);
  EXPECT_NE(error_of(0, {}, {}).find("no blocks"), std::string::npos);
}

TEST(Mapping, FindAgreesWithALinearSearchForEverySize) {
  for (std::uint32_t extents = 1; extents < 70; ++extents) {
    std::vector<Extent> list;
    for (std::uint32_t i = 0; i < extents; ++i) list.push_back({i * 3, 3, 1, i * 5});
    const auto mapping = Mapping::create(extents * 3, {id(1)}, list);
    ASSERT_TRUE(mapping);
    for (std::uint32_t block = 0; block < extents * 3; ++block) {
      ASSERT_EQ(mapping->extent(mapping->find(block)).guest_block, block / 3 * 3);
    }
  }
}

TEST(Statistics, CountLiveBlocksAndExtentsPerWindow) {
  const auto mapping =
      Mapping::create(2 * kWindowBlocks, {id(1), id(2)},
                      std::vector<Extent>{{0, 100, 1, 0}, {100, 500, 2, 0}, {600, 424, kZeros, 0}});
  ASSERT_TRUE(mapping);
  const Statistics statistics = statistics_of(*mapping);
  EXPECT_EQ(statistics.layers[1].live_blocks, 100);
  EXPECT_EQ(statistics.layers[2].live_blocks, 500);
  EXPECT_EQ(statistics.layers[kZeros].live_blocks, 424);
  EXPECT_EQ(statistics.windows.windows, 2);
  EXPECT_EQ(statistics.windows.max_extents, 2);
  EXPECT_DOUBLE_EQ(statistics.windows.mean_extents, 2.0);
}

}  // namespace
}  // namespace lamina::mapping
