#include "store/resume_coverage.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "os/directory.h"
#include "scratch_directory.h"

namespace lamina::store {
namespace {

TEST(ResumeCoverageTest, LinesThatCannotBeReadAreIgnored) {
  const auto coverages = decode_coverages(
      "1000 replayed 20 10\n"
      "bad\n"
      "2000 not 5\n"
      "2000 maybe 5 1\n"
      "2000 not 5 6\n"
      "-3 not 5 1\n"
      "99999999999999 not 5 1\n"
      "2000 not 5 1 7\n"
      "2000 not 5 1\n"
      "3000 replayed 20 1");
  ASSERT_EQ(coverages.size(), 2U);
  EXPECT_TRUE(coverages[0].was_replayed);
  EXPECT_EQ(coverages[0].time, "1970-01-01T00:16:40Z");
  EXPECT_EQ(coverages[0].used_blocks, 20U);
  EXPECT_EQ(coverages[0].known_blocks, 10U);
  EXPECT_FALSE(coverages[1].was_replayed);
}

TEST(ResumeCoverageTest, TheLastAreKeptInABoundedFile) {
  const tests::ScratchDirectory scratch;
  const std::string path = std::filesystem::path(scratch.path()).string();
  const os::Fd store = *os::open_directory(AT_FDCWD, path, path);
  const StoreIdentity identity = *identity_of(store.get(), path);
  const Uuid pause = Uuid::random();
  EXPECT_TRUE(last_coverages(store.get(), identity, pause).empty());
  ResumeCoverage coverage;
  for (std::uint64_t i = 0; i < 500; ++i) {
    coverage.used_blocks = 100'000'000 + i;
    coverage.known_blocks = i;
    const Status added = add_coverage(store.get(), path, pause, coverage);
    ASSERT_TRUE(added) << added.error().message;
  }
  const auto last = last_coverages(store.get(), identity, pause);
  ASSERT_EQ(last.size(), kMaxCoverages);
  for (std::size_t i = 0; i < last.size(); ++i) {
    EXPECT_EQ(last[i].known_blocks, 500 - kMaxCoverages + i);
  }
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(path + "/.counts")) {
    ++files;
    EXPECT_LE(entry.file_size(), 4096U);
  }
  EXPECT_EQ(files, 1U);
  EXPECT_TRUE(last_coverages(store.get(), identity, Uuid::random()).empty());
}

}  // namespace
}  // namespace lamina::store
