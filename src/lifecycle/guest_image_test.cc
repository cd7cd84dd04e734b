#include "lifecycle/guest_image.h"

#include <gtest/gtest.h>

namespace lamina::lifecycle {
namespace {

constexpr std::uint64_t kMib = std::uint64_t{1} << 20;

os::FileFacts a_file() {
  os::FileFacts facts;
  facts.device = 8;
  facts.inode = 42;
  return facts;
}

os::FileMapping mapping(std::uint64_t begin_mib, std::uint64_t length_mib, std::uint64_t offset_mib,
                        bool is_private = true) {
  return {begin_mib * kMib, (begin_mib + length_mib) * kMib, offset_mib * kMib, 8, 42, is_private};
}

TEST(GuestImage, OneMappingIsOnePart) {
  const auto parts = find_parts({mapping(100, 16, 0)}, a_file(), {0, 16 * kMib}, 0);
  ASSERT_TRUE(parts);
  ASSERT_EQ(parts->size(), 1U);
  EXPECT_EQ(parts->front().address, 100 * kMib);
}

TEST(GuestImage, AMappingThatWasSplitIsJoined) {
  const auto parts = find_parts({mapping(108, 8, 8), mapping(100, 8, 0)}, a_file(),
                                {4 * kMib, 8 * kMib}, 32 * kMib);
  ASSERT_TRUE(parts);
  ASSERT_EQ(parts->size(), 2U);
  EXPECT_EQ(parts->at(0).address, 104 * kMib);
  EXPECT_EQ(parts->at(0).image_offset, 32 * kMib);
  EXPECT_EQ(parts->at(1).address, 108 * kMib);
  EXPECT_EQ(parts->at(1).image_offset, 36 * kMib);
}

TEST(GuestImage, GapsOverlapsAndSharedMappingsAreRefused) {
  const ByteRange all{0, 16 * kMib};
  EXPECT_FALSE(find_parts({}, a_file(), all, 0));
  EXPECT_FALSE(find_parts({mapping(100, 8, 0)}, a_file(), all, 0));
  EXPECT_FALSE(find_parts({mapping(100, 8, 8)}, a_file(), all, 0));
  EXPECT_FALSE(find_parts({mapping(100, 8, 0), mapping(200, 7, 9)}, a_file(), all, 0));
  EXPECT_FALSE(find_parts({mapping(100, 16, 0), mapping(200, 16, 0)}, a_file(), all, 0));
  EXPECT_FALSE(find_parts({mapping(100, 16, 0, false)}, a_file(), all, 0));
  os::FileFacts other = a_file();
  other.inode = 43;
  EXPECT_FALSE(find_parts({mapping(100, 16, 0)}, other, all, 0));
}

}  // namespace
}  // namespace lamina::lifecycle
