#include "lamina/remove.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "lamina/ingest.h"
#include "scratch_directory.h"

namespace lamina {
namespace {

namespace fs = std::filesystem;

class RemoveTest : public testing::Test {
 protected:
  void SetUp() override { fs::create_directory(root_ / "store"); }

  std::string add(const std::string& name) {
    std::ofstream(root_ / "memory", std::ios::binary) << std::string(8192, 'x');
    IngestOptions options;
    options.memory_file = (root_ / "memory").string();
    options.snapshot = (root_ / "store" / name).string();
    EXPECT_TRUE(ingest(options));
    return options.snapshot;
  }

  tests::ScratchDirectory scratch_;
  fs::path root_ = scratch_.path();
};

TEST_F(RemoveTest, SnapshotNamedTwiceIsRemovedOnce) {
  const std::string first = add("a");
  const std::string second = add("b");
  const auto report = remove_snapshots({{first, second, first + "/", second}, false});
  ASSERT_TRUE(report) << report.error().message;
  ASSERT_EQ(report->snapshots.size(), 2U);
  for (const RemovedSnapshot& removed : report->snapshots) {
    EXPECT_FALSE(removed.error) << removed.error->message;
    EXPECT_FALSE(fs::exists(removed.snapshot));
  }
  EXPECT_EQ(report->notes.size(), 2U);
}

TEST_F(RemoveTest, MissingSnapshotIsReportedOnce) {
  const std::string there = add("a");
  const std::string missing = (root_ / "store/b").string();
  const auto report = remove_snapshots({{missing, there, missing}, false});
  ASSERT_TRUE(report) << report.error().message;
  ASSERT_EQ(report->snapshots.size(), 2U);
  ASSERT_TRUE(report->snapshots[0].error);
  EXPECT_EQ(report->snapshots[0].error->kind, ErrorKind::kNotFound);
  EXPECT_FALSE(report->snapshots[1].error);
}

TEST_F(RemoveTest, PauseIdNamesTheStateThatMayGo) {
  RemoveOptions options;
  options.snapshots = {add("a")};
  for (const bool dry_run : {true, false}) {
    options.dry_run = dry_run;
    options.pause_id = Uuid::random();
    const auto other = remove_snapshots(options);
    ASSERT_TRUE(other) << other.error().message;
    ASSERT_TRUE(other->snapshots[0].error);
    EXPECT_EQ(other->snapshots[0].error->kind, ErrorKind::kNotFound);
    EXPECT_TRUE(fs::exists(options.snapshots[0]));
    options.pause_id = other->snapshots[0].pause_id;
    ASSERT_TRUE(options.pause_id);
    const auto right = remove_snapshots(options);
    ASSERT_TRUE(right) << right.error().message;
    EXPECT_FALSE(right->snapshots[0].error);
    EXPECT_EQ(fs::exists(options.snapshots[0]), dry_run);
  }
}

TEST_F(RemoveTest, PauseIdIsForOneSnapshot) {
  RemoveOptions options;
  options.snapshots = {add("a"), add("b")};
  options.pause_id = Uuid::random();
  const auto report = remove_snapshots(options);
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().kind, ErrorKind::kUsage);
  EXPECT_TRUE(fs::exists(options.snapshots[0]));
}

}  // namespace
}  // namespace lamina
