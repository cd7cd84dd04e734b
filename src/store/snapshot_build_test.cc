#include "store/snapshot_build.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/block.h"
#include "lamina/ingest.h"
#include "store/snapshot_directory.h"

namespace lamina::store {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kBlocks = 64;

class SnapshotBuildTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = fs::temp_directory_path().string() + "/lamina-build-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    root_ = fs::canonical(name);
    fs::create_directory(root_ / "store");
  }
  void TearDown() override { fs::remove_all(root_); }

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

  fs::path root_;
};

TEST_F(SnapshotBuildTest, OnlyLayersStillInUseAreLinkedEachWithItsOwnFacts) {
  pause("0", "", 0, kBlocks);
  pause("1", "0", 0, 4);
  pause("2", "1", 10, 13);
  pause("3", "2", 20, 22);
  pause("4", "3", 8, 16);  // all of 2, which is in the middle
  const auto opened = open_snapshot(snapshot("4"));
  ASSERT_TRUE(opened) << opened.error().message;
  std::vector<std::uint64_t> data_blocks;
  for (const auto& layer : opened->header.layers) data_blocks.push_back(layer.data_blocks);
  EXPECT_EQ(data_blocks, (std::vector<std::uint64_t>{kBlocks, 4, 2, 8}));
  EXPECT_EQ(layer_files("4").size(), 4U);

  pause("5", "4", 0, kBlocks);  // everything
  const auto whole = open_snapshot(snapshot("5"));
  ASSERT_TRUE(whole) << whole.error().message;
  EXPECT_EQ(whole->header.layers.size(), 1U);
  EXPECT_EQ(layer_files("5").size(), 1U);
}

}  // namespace
}  // namespace lamina::store
