#include "lifecycle/guest_image.h"

#include <gtest/gtest.h>

namespace lamina::lifecycle {
namespace {

constexpr std::uint64_t kMebibyte = std::uint64_t{1} << 20;

os::FileFacts a_file() {
  os::FileFacts facts;
  facts.device = 8;
  facts.inode = 42;
  return facts;
}

os::FileMapping mapping(std::uint64_t begin_mib, std::uint64_t length_mib, std::uint64_t offset_mib,
                        bool is_private = true) {
  return {begin_mib * kMebibyte,
          (begin_mib + length_mib) * kMebibyte,
          offset_mib * kMebibyte,
          8,
          42,
          is_private};
}

TEST(GuestImage, OneMappingIsOnePart) {
  const auto parts = find_parts({mapping(100, 16, 0)}, a_file(), {0, 16 * kMebibyte}, 0);
  ASSERT_TRUE(parts);
  ASSERT_EQ(parts->size(), 1U);
  EXPECT_EQ(parts->front().address, 100 * kMebibyte);
}

TEST(GuestImage, AMappingThatWasSplitIsJoined) {
  const auto parts = find_parts({mapping(108, 8, 8), mapping(100, 8, 0)}, a_file(),
                                {4 * kMebibyte, 8 * kMebibyte}, 32 * kMebibyte);
  ASSERT_TRUE(parts);
  ASSERT_EQ(parts->size(), 2U);
  EXPECT_EQ(parts->at(0).address, 104 * kMebibyte);
  EXPECT_EQ(parts->at(0).image_offset, 32 * kMebibyte);
  EXPECT_EQ(parts->at(1).address, 108 * kMebibyte);
  EXPECT_EQ(parts->at(1).image_offset, 36 * kMebibyte);
}

TEST(GuestImage, GapsOverlapsAndSharedMappingsAreRefused) {
  const ByteRange all{0, 16 * kMebibyte};
  EXPECT_FALSE(find_parts({}, a_file(), all, 0));
  EXPECT_FALSE(find_parts({mapping(100, 8, 0)}, a_file(), all, 0));
  EXPECT_FALSE(find_parts({mapping(100, 8, 8)}, a_file(), all, 0));
  EXPECT_FALSE(find_parts({mapping(100, 8, 0), mapping(200, 7, 9)}, a_file(), all, 0));
  EXPECT_FALSE(find_parts({mapping(100, 16, 0), mapping(200, 16, 0)}, a_file(), all, 0));
  EXPECT_FALSE(find_parts({mapping(100, 16, 0, false)}, a_file(), all, 0));
  EXPECT_FALSE(find_parts({mapping(100, 16, 0)}, a_file(), all, 0, MappedAs::kShared));
  EXPECT_TRUE(find_parts({mapping(100, 16, 0, false)}, a_file(), all, 0, MappedAs::kShared));
  EXPECT_FALSE(find_parts({mapping(100, 15, 0, false)}, a_file(), all, 0, MappedAs::kShared));
  os::FileFacts other = a_file();
  other.inode = 43;
  EXPECT_FALSE(find_parts({mapping(100, 16, 0)}, other, all, 0));
}

}  // namespace
}  // namespace lamina::lifecycle
