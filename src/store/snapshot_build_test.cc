#include "store/snapshot_build.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/block.h"
#include "lamina/ingest.h"
#include "lamina/verify.h"
#include "scratch_directory.h"
#include "store/snapshot_directory.h"

namespace lamina::store {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kBlocks = 64;

class SnapshotBuildTest : public testing::Test {
 protected:
  void SetUp() override { fs::create_directory(root_ / "store"); }

  [[nodiscard]] std::string snapshot(const std::string& name) const {
    return (root_ / "store" / name).string();
  }

  /// Stores a memory file in which only blocks [first, end) are written, over `parent`.
  void pause(const std::string& name, const std::string& parent, std::uint64_t first,
             std::uint64_t end) {
    const std::string file = (root_ / "memory").string();
    std::ofstream(file).close();
    fs::resize_file(file, kBlocks * kBlockBytes);
    std::fstream memory(file, std::ios::in | std::ios::out | std::ios::binary);
    memory.seekp(static_cast<std::streamoff>(first * kBlockBytes));
    memory << std::string((end - first) * kBlockBytes, name.back());
    memory.close();
    IngestOptions options;
    options.memory_file = file;
    options.snapshot = snapshot(name);
    if (!parent.empty()) options.parent = snapshot(parent);
    options.layout = Layout::kCompact;
    const auto stored = ingest(options);
    ASSERT_TRUE(stored) << stored.error().message;
  }

  [[nodiscard]] std::vector<std::string> layer_files(const std::string& name) const {
    std::vector<std::string> files;
    for (const auto& entry : fs::directory_iterator(snapshot(name))) {
      const std::string file = entry.path().filename().string();
      if (parse_layer_file_name(file)) files.push_back(file);
    }
    return files;
  }

  /// Makes a memory file without holes.
  std::string write(const std::string& memory) {
    const std::string path = (root_ / "memory").string();
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    EXPECT_EQ(::write(fd, memory.data(), memory.size()), static_cast<ssize_t>(memory.size()));
    ::close(fd);
    return path;
  }

  tests::ScratchDirectory scratch_;
  fs::path root_ = scratch_.path();
};

TEST_F(SnapshotBuildTest, OnlyLayersInUseAreLinkedEachWithItsFacts) {
  pause("0", "", 0, kBlocks);
  pause("1", "0", 0, 4);
  pause("2", "1", 10, 13);
  pause("3", "2", 20, 22);
  pause("4", "3", 8, 16);  // supersedes all of layer 2, a middle one
  const auto opened = open_snapshot(snapshot("4"));
  ASSERT_TRUE(opened) << opened.error().message;
  std::vector<std::uint64_t> data_blocks;
  for (const auto& layer : opened->header.layers) data_blocks.push_back(layer.data_blocks);
  EXPECT_EQ(data_blocks, (std::vector<std::uint64_t>{kBlocks, 4, 2, 8}));
  EXPECT_EQ(layer_files("4").size(), 4U);

  pause("5", "4", 0, kBlocks);  // supersedes all layers
  const auto whole = open_snapshot(snapshot("5"));
  ASSERT_TRUE(whole) << whole.error().message;
  EXPECT_EQ(whole->header.layers.size(), 1U);
  EXPECT_EQ(layer_files("5").size(), 1U);
}

// The memory's size is not a multiple of the block size, and the change reaches its end.
TEST_F(SnapshotBuildTest, UnchangedBlocksOfAnUnalignedDiffAreSpare) {
  std::string memory(40 * kBlockBytes - 100, 'x');
  IngestOptions options;
  options.memory_file = write(memory);
  options.snapshot = snapshot("a");
  ASSERT_TRUE(ingest(options));

  memory.back() = 'y';
  memory[2 * kBlockBytes] = 'y';
  options.memory_file = write(memory);
  options.parent = options.snapshot;
  options.snapshot = snapshot("b");
  options.layout = Layout::kAdopted;
  options.dedup = Dedup::kParent;
  const auto report = ingest(options);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->unchanged_blocks, 38U);
  EXPECT_EQ(report->notes, std::vector<std::string>{});

  const auto verified = verify({options.snapshot, write(memory), nullptr});
  ASSERT_TRUE(verified) << verified.error().message;
  EXPECT_TRUE(verified->is_intact());
  EXPECT_TRUE(verified->is_equal());
}

}  // namespace
}  // namespace lamina::store
