#include "os/file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>

namespace lamina::os {
namespace {

TEST(FileFacts, OutOfRangeTimeIsClampedAndStillChanges) {
  std::string name = std::filesystem::temp_directory_path().string() + "/lamina-time-XXXXXX";
  const Fd fd(::mkstemp(name.data()));
  ASSERT_TRUE(fd.valid());
  std::filesystem::remove(name);
  constexpr time_t kYear2400 = 13'569'465'600;
  const auto facts_at = [&](time_t seconds, long nanoseconds) {
    const timespec times[2] = {{seconds, nanoseconds}, {seconds, nanoseconds}};
    EXPECT_EQ(::futimens(fd.get(), times), 0);
    return facts_of(fd.get(), name);
  };
  const auto late = facts_at(kYear2400, 5);
  struct stat status{};
  ASSERT_EQ(::fstat(fd.get(), &status), 0);
  if (status.st_mtim.tv_sec != kYear2400) GTEST_SKIP() << "the file system has no such times";
  ASSERT_TRUE(late);
  const auto other = facts_at(kYear2400, 6);
  const auto now = facts_at(1'800'000'000, 5);
  ASSERT_TRUE(other && now);
  EXPECT_GT(late->modified_ns, now->modified_ns);
  EXPECT_NE(late->modified_ns, other->modified_ns);
  EXPECT_EQ(now->modified_ns, 1'800'000'000'000'000'005);
}

}  // namespace
}  // namespace lamina::os
