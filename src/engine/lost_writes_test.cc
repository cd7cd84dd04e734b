#include "engine/lost_writes.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <vector>

#include "base/block.h"
#include "engine/block_scan.h"
#include "engine/layer_writer.h"
#include "mapping/overlay.h"
#include "os/directory.h"
#include "os/sparse_file.h"
#include "scratch_directory.h"

namespace lamina::engine {
namespace {

using Bytes = std::vector<std::byte>;

constexpr std::uint32_t kLayerBlocks = 300;

/// An adopted layer with data, written zeros, and holes.
class LostWritesTest : public testing::Test {
 protected:
  void SetUp() override {
    auto directory = os::open_directory(AT_FDCWD, scratch_.path(), scratch_.path());
    ASSERT_TRUE(directory) << directory.error().message;
    directory_ = std::move(*directory);
    auto file = os::open_at(directory_.get(), kName, O_RDWR | O_CREAT | O_EXCL, kName);
    ASSERT_TRUE(file) << file.error().message;
    file_ = std::move(*file);
    ASSERT_TRUE(os::truncate(file_.get(), kLayerBlocks * kBlockBytes, kName));
    std::vector<std::uint64_t> checksums;
    for (std::uint32_t block = 10; block < 150; ++block) {
      const Bytes bytes(kBlockBytes, static_cast<std::byte>(block));
      write(block, bytes);
      checksums.push_back(block_checksum(bytes));
    }
    for (std::uint32_t block = 200; block < 220; ++block) write(block, Bytes(kBlockBytes));
    const auto state =
        mapping::overlay(mapping::Mapping::zeros(kLayerBlocks), id_,
                         std::vector<mapping::Extent>{{10, 140, mapping::kNewLayer, 10},
                                                      {200, 20, mapping::kZeros, 0}});
    ASSERT_TRUE(state) << state.error().message;
    format::Trailer trailer = describe_layer(
        *state, id_, {{10, 140, 0, 0}}, format::LayerLayout::kAdopted, kLayerBlocks * kBlockBytes);
    trailer.checksums = std::move(checksums);
    ASSERT_TRUE(finish_layer(file_.get(), trailer, kName));
  }

  void write(std::uint32_t block, const Bytes& bytes) const {
    ASSERT_TRUE(os::write_at(file_.get(), bytes, block * kBlockBytes, kName));
  }

  [[nodiscard]] Layer layer() const {
    auto layer = Layer::open(directory_.get(), kName, kName, id_, true);
    EXPECT_TRUE(layer) << layer.error().message;
    return std::move(*layer);
  }

  [[nodiscard]] Status rewrite() {
    auto copy = os::open_at(directory_.get(), "copy", O_RDWR | O_CREAT | O_TRUNC, "copy");
    if (!copy) return std::unexpected(copy.error());
    copy_ = std::move(*copy);
    return rewrite_memory_file(layer(), copy_.get(), "copy");
  }

  static constexpr const char* kName = "layer";
  Uuid id_ = Uuid::random();
  tests::ScratchDirectory scratch_;
  os::Fd directory_;
  os::Fd file_;
  os::Fd copy_;
};

TEST_F(LostWritesTest, CopyHasTheDataZerosAndHolesOfTheMemoryFile) {
  constexpr std::uint64_t kBytes = kLayerBlocks * kBlockBytes;
  const Status done = rewrite();
  ASSERT_TRUE(done) << done.error().message;
  Bytes before(kBytes);
  ASSERT_TRUE(os::read_exactly_at(file_.get(), before, 0, kName));
  const auto copied = os::read_whole(copy_.get(), kBytes, "copy");
  ASSERT_TRUE(copied) << copied.error().message;
  EXPECT_TRUE(*copied == before);
  EXPECT_EQ(*os::written_ranges(copy_.get(), kBytes, "copy"),
            *os::written_ranges(file_.get(), kBytes, kName));
}

TEST_F(LostWritesTest, IsOnDiskOnlyIfSyncedDataMatchesTheChecksums) {
  if (!os::open_at(directory_.get(), kName, O_RDONLY | O_DIRECT, kName)) {
    GTEST_SKIP() << "this file system cannot be read around the page cache";
  }
  EXPECT_TRUE(is_on_disk(layer(), directory_.get(), kName));
  write(77, Bytes(kBlockBytes));
  ASSERT_TRUE(os::sync(file_.get(), kName));
  EXPECT_FALSE(is_on_disk(layer(), directory_.get(), kName));
}

TEST_F(LostWritesTest, RewriteRejectsChangedData) {
  write(77, Bytes(kBlockBytes));
  const Status done = rewrite();
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().kind, ErrorKind::kCorrupt);
  EXPECT_NE(done.error().message.find("0x4d000"), std::string::npos) << done.error().message;
}

TEST_F(LostWritesTest, RewriteRejectsDataInPlaceOfZeros) {
  write(210, Bytes(kBlockBytes, std::byte{7}));
  const Status done = rewrite();
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().kind, ErrorKind::kCorrupt);
}

TEST_F(LostWritesTest, RewriteRejectsAHoleInPlaceOfData) {
  ASSERT_TRUE(os::punch_hole(file_.get(), 100 * kBlockBytes, kBlockBytes, kName));
  const Status done = rewrite();
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().kind, ErrorKind::kCorrupt);
}

}  // namespace
}  // namespace lamina::engine
