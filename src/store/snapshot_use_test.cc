#include "store/snapshot_use.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "os/directory.h"
#include "scratch_directory.h"
#include "store/snapshot_directory.h"

namespace lamina::store {
namespace {

namespace fs = std::filesystem;

class SnapshotUseTest : public testing::Test {
 protected:
  void SetUp() override {
    fs::create_directory(path_);
    std::ofstream(path_ / kHeaderName) << "header";
    directory_ = *os::open_directory(AT_FDCWD, path_.string(), path_.string());
  }

  tests::ScratchDirectory scratch_;
  fs::path path_ = scratch_.path() / "web";
  os::Fd directory_;
};

TEST_F(SnapshotUseTest, HeldSnapshotCannotBeClaimedUntilTheHoldIsDropped) {
  auto first = hold_snapshot(path_.string());
  auto second = hold_snapshot(path_.string());
  ASSERT_TRUE(first && *first && second && *second);
  first->reset();
  EXPECT_FALSE(*claim_snapshot(directory_.get(), path_.string()));
  second->reset();
  EXPECT_TRUE(*claim_snapshot(directory_.get(), path_.string()));
}

TEST_F(SnapshotUseTest, SnapshotKeepsItsHoldUnderAnotherName) {
  auto held = share_snapshot_use(directory_.get(), path_.string());
  ASSERT_TRUE(held);
  fs::rename(path_, scratch_.path() / "other");
  const auto renamed = os::open_directory(directory_.get(), ".", "other");
  EXPECT_FALSE(*claim_snapshot(renamed->get(), "other"));
}

TEST_F(SnapshotUseTest, WhatIsNotThereIsNotHeld) {
  const auto missing = hold_snapshot((scratch_.path() / "none").string());
  ASSERT_TRUE(missing);
  EXPECT_FALSE(*missing);
  fs::remove(path_ / kHeaderName);
  const auto other = hold_snapshot(path_.string());
  ASSERT_TRUE(other);
  EXPECT_FALSE(*other);
}

}  // namespace
}  // namespace lamina::store
