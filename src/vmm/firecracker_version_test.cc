#include "vmm/firecracker_version.h"

#include <gtest/gtest.h>

namespace lamina::vmm {
namespace {

TEST(FirecrackerVersionTest, ReleasesAndOthersAreParsed) {
  EXPECT_EQ(parse_version("1.12.3"), (Version{1, 12, 3, true}));
  EXPECT_EQ(parse_version("v1.12.3"), (Version{1, 12, 3, true}));
  EXPECT_EQ(parse_version("1.15.0-dev"), (Version{1, 15, 0, false}));
  EXPECT_EQ(parse_version("1.15.0+local"), (Version{1, 15, 0, false}));
}

TEST(FirecrackerVersionTest, WhatIsNoVersionIsNotParsed) {
  for (const char* text : {"", "v", "1", "1.", "1.15", "1.15.", "1.15.x", "1.15.0dev", "-1.2.3",
                           " 1.2.3", "1.2.3 ", "1.2.4294967296", "1..2"}) {
    EXPECT_FALSE(parse_version(text)) << text;
  }
}

TEST(FirecrackerVersionTest, NumbersAreComparedAsNumbers) {
  EXPECT_LT(*parse_version("1.9.9"), *parse_version("1.10.0"));
  EXPECT_LT(*parse_version("1.15.0-dev"), *parse_version("1.15.0"));
  EXPECT_LT(*parse_version("1.15.9"), *parse_version("2.0.0-dev"));
}

TEST(FirecrackerVersionTest, DiffsOfLargeMemoryAreRightFromTheReleaseThatFixedThem) {
  for (const char* text : {"1.14.1", "1.9.0", "0.25.0", "1.15.0-dev"}) {
    EXPECT_FALSE(has_diff_of_large_memory_fixed(*parse_version(text))) << text;
  }
  for (const char* text : {"1.15.0", "1.15.1", "1.16.0-dev", "2.0.0"}) {
    EXPECT_TRUE(has_diff_of_large_memory_fixed(*parse_version(text))) << text;
  }
}

}  // namespace
}  // namespace lamina::vmm
