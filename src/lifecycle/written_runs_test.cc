#include "lifecycle/written_runs.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

#include "os/directory.h"
#include "scratch_directory.h"

namespace lamina::lifecycle {
namespace {

class WrittenRunsTest : public testing::Test {
 protected:
  void SetUp() override {
    auto directory = os::open_directory(AT_FDCWD, path_, path_);
    ASSERT_TRUE(directory);
    directory_ = std::move(*directory);
  }

  [[nodiscard]] std::string file() const { return path_ + "/" + kWrittenRunsName; }

  [[nodiscard]] std::optional<std::vector<ByteRange>> read(std::uint64_t bytes) const {
    return read_written_runs(directory_.get(), path_, bytes);
  }

  void write(const std::vector<ByteRange>& runs) {
    const auto written = write_written_runs(runs, directory_.get(), path_);
    ASSERT_TRUE(written) << written.error().message;
  }

  tests::ScratchDirectory scratch_;
  std::string path_ = scratch_.path();
  os::Fd directory_;
};

TEST_F(WrittenRunsTest, WhatIsWrittenIsReadAlsoWhenItIsNothing) {
  EXPECT_FALSE(read(1 << 20));
  write({});
  EXPECT_EQ(read(1 << 20), std::vector<ByteRange>{});
  const std::vector<ByteRange> runs = {{0, 4096}, {8192, 12288}, {1044480, 4096}};
  write(runs);
  EXPECT_EQ(read(1 << 20), runs);
  EXPECT_FALSE(read((1 << 20) - 1)) << "of another file";
}

TEST_F(WrittenRunsTest, ATornOrChangedRecordIsNone) {
  write({{0, 4096}, {8192, 12288}});
  std::ifstream in(file(), std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(in)), {});
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    std::ofstream(file(), std::ios::binary | std::ios::trunc) << bytes.substr(0, size);
    EXPECT_FALSE(read(1 << 20)) << size;
  }
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    std::string changed = bytes;
    changed[at] = static_cast<char>(changed[at] ^ 0x11);
    std::ofstream(file(), std::ios::binary | std::ios::trunc) << changed;
    EXPECT_FALSE(read(1 << 20)) << at;
  }
}

}  // namespace
}  // namespace lamina::lifecycle
