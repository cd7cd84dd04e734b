#include "os/sparse_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "base/block.h"
#include "os/file.h"
#include "os/hole_probe.h"

namespace lamina::os {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kBlocks = 2304;

class SparseFileTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = fs::temp_directory_path().string() + "/lamina-sparse-XXXXXX";
    fd_ = Fd(::mkstemp(name.data()));
    ASSERT_TRUE(fd_.valid());
    fs::remove(name);
    ASSERT_TRUE(truncate(fd_.get(), kBlocks * kBlockBytes, "file"));
  }

  void write(std::uint64_t block) {
    const std::vector<std::byte> data(kBlockBytes, block % 3 == 0 ? std::byte{0} : std::byte{7});
    ASSERT_TRUE(write_at(fd_.get(), data, block * kBlockBytes, "file"));
  }

  Fd fd_;
};

// More runs than one call of FIEMAP returns, none of them synced.
TEST_F(SparseFileTest, ExactlyTheWrittenBlocksAreFound) {
  std::vector<ByteRange> expected;
  for (std::uint64_t block = 1; block < kBlocks; block += 2) {
    write(block);
    expected.push_back({block * kBlockBytes, kBlockBytes});
  }
  const auto map = map_file(fd_.get(), kBlocks * kBlockBytes, "file");
  ASSERT_TRUE(map) << map.error().message;
  EXPECT_EQ(map->written, expected);
  EXPECT_FALSE(map->has_preallocated);
}

TEST_F(SparseFileTest, DataPastTheSizeIsIgnored) {
  write(3);
  write(4);
  const auto map = map_file(fd_.get(), 4 * kBlockBytes + 100, "file");
  ASSERT_TRUE(map) << map.error().message;
  EXPECT_EQ(map->written, (std::vector<ByteRange>{{3 * kBlockBytes, kBlockBytes + 100}}));
}

TEST_F(SparseFileTest, PreallocatedStorageIsAHoleAfterARead) {
  if (::fallocate(fd_.get(), 0, 0, kBlocks * kBlockBytes) != 0) {
    GTEST_SKIP() << "this file system cannot preallocate";
  }
  std::mt19937_64 random(4);
  std::vector<bool> is_written(kBlocks);
  for (int i = 0; i < 300; ++i) is_written[random() % kBlocks] = true;
  for (std::uint64_t block = 0; block < kBlocks; ++block) {
    if (is_written[block]) write(block);
  }
  std::vector<std::byte> all(kBlocks * kBlockBytes);
  ASSERT_TRUE(read_at(fd_.get(), all, 0, "file"));
  const auto map = map_file(fd_.get(), kBlocks * kBlockBytes, "file");
  ASSERT_TRUE(map) << map.error().message;
  if (!map->distinguishes_preallocated)
    GTEST_SKIP() << "this file system does not distinguish preallocated storage";
  EXPECT_TRUE(map->has_preallocated);
  std::vector<bool> found(kBlocks);
  for (const ByteRange& run : map->written) {
    for (std::uint64_t at = run.offset; at < run.end(); at += kBlockBytes) {
      found[at / kBlockBytes] = true;
    }
  }
  EXPECT_EQ(found, is_written);
}

TEST(HoleProbe, AppliesOnlyToFilesOnTheSameFileSystem) {
  const std::string directory = fs::temp_directory_path().string();
  const Fd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const auto probe = probe_holes(fd.get(), kBlocks * kBlockBytes, directory);
  ASSERT_TRUE(probe) << probe.error().message;
  EXPECT_TRUE(probe->is_exact) << probe->explanation;
  FileFacts facts = probe->probed;
  facts.inode += 1;
  EXPECT_TRUE(probe->applies_to(facts));
  facts.device += 1;
  EXPECT_FALSE(probe->applies_to(facts));
  facts = probe->probed;
  facts.mount += 1;
  EXPECT_FALSE(probe->applies_to(facts));
}

}  // namespace
}  // namespace lamina::os
