#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "lamina/ingest.h"
#include "lamina/verify.h"

namespace lamina {
namespace {

namespace fs = std::filesystem;

class SnapshotBuildTest : public testing::Test {
 protected:
  void SetUp() override {
    const char* base = std::getenv("LAMINA_TEST_DIR");
    std::string name = (base != nullptr ? std::string(base) : fs::temp_directory_path().string()) +
                       "/lamina-build-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    root_ = name;
    fs::create_directory(root_ / "store");
  }
  void TearDown() override { fs::remove_all(root_); }

  /// Makes a memory file without holes.
  std::string write(const std::string& memory) {
    const std::string path = (root_ / "memory").string();
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    EXPECT_EQ(::write(fd, memory.data(), memory.size()), static_cast<ssize_t>(memory.size()));
    ::close(fd);
    return path;
  }

  fs::path root_;
};

// What is changed reaches to the memory's end, and that is no multiple of a block.
TEST_F(SnapshotBuildTest, ADiffWithAnOddEndGivesBackWhatIsUnchanged) {
  constexpr std::size_t kBytes = 4096;
  std::string memory(40 * kBytes - 100, 'x');
  IngestOptions options;
  options.memory_file = write(memory);
  options.snapshot = (root_ / "store/a").string();
  ASSERT_TRUE(ingest(options));

  memory.back() = 'y';
  memory[2 * kBytes] = 'y';
  options.memory_file = write(memory);
  options.parent = options.snapshot;
  options.snapshot = (root_ / "store/b").string();
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
}  // namespace lamina
