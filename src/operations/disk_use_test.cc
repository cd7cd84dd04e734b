#include "operations/disk_use.h"

#include <gtest/gtest.h>

namespace lamina::operations {
namespace {

TEST(FileTally, CountsAFileOnce) {
  FileTally tally;
  EXPECT_EQ(tally.add({{1, 10, 2, 1, 100}, {1, 11, 1, 1, 7}}), 107U);
  EXPECT_EQ(tally.add({{1, 10, 2, 1, 100}, {2, 10, 1, 1, 5}}), 5U);
}

TEST(RemovalTally, StorageIsFreedWithTheLastName) {
  RemovalTally tally;
  const auto first = tally.remove({{1, 10, 2, 1, 100}, {1, 11, 1, 1, 7}});
  EXPECT_EQ(first.freed, 7U);
  EXPECT_EQ(first.remaining, 100U);
  const auto second = tally.remove({{1, 10, 2, 1, 100}, {1, 12, 3, 2, 50}});
  EXPECT_EQ(second.freed, 100U);
  EXPECT_EQ(second.remaining, 50U);
}

}  // namespace
}  // namespace lamina::operations
