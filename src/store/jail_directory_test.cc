#include "store/jail_directory.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "os/directory.h"

namespace lamina::store {
namespace {

namespace fs = std::filesystem;

class JailDirectoryTest : public testing::Test {
 protected:
  JailDirectoryTest() {
    std::string name = (fs::temp_directory_path() / "lamina-XXXXXX").string();
    root_ = ::mkdtemp(name.data());
    record_.path = (root_ / jail_directory_name(Uuid::random())).string();
    fs::create_directory(record_.path);
    std::ofstream(record_.path + "/file") << "file";
    struct stat status{};
    EXPECT_EQ(::stat(record_.path.c_str(), &status), 0);
    record_.inode = status.st_ino;
  }
  ~JailDirectoryTest() override { fs::remove_all(root_); }
  JailDirectoryTest(const JailDirectoryTest&) = delete;
  JailDirectoryTest& operator=(const JailDirectoryTest&) = delete;
  JailDirectoryTest(JailDirectoryTest&&) = delete;
  JailDirectoryTest& operator=(JailDirectoryTest&&) = delete;

  fs::path root_;
  JailDirectory record_;
};

TEST_F(JailDirectoryTest, WhatWasMadeIsOpenedAndRemoved) {
  EXPECT_TRUE(open_jail_directory(record_));
  EXPECT_TRUE(remove_jail_directory(record_));
  EXPECT_FALSE(fs::exists(record_.path));
  EXPECT_EQ(open_jail_directory(record_).error().kind, ErrorKind::kNotFound);
  EXPECT_TRUE(remove_jail_directory(record_));
}

TEST_F(JailDirectoryTest, AnotherInItsPlaceIsLeftAlone) {
  fs::rename(record_.path, root_ / "moved");
  fs::create_directory(record_.path);
  std::ofstream(record_.path + "/precious") << "precious";
  EXPECT_EQ(open_jail_directory(record_).error().kind, ErrorKind::kFailed);
  EXPECT_FALSE(remove_jail_directory(record_));
  EXPECT_TRUE(fs::exists(record_.path + "/precious"));
  EXPECT_TRUE(fs::exists(root_ / "moved" / "file"));
}

TEST_F(JailDirectoryTest, ALinkInItsPlaceIsNotFollowed) {
  fs::rename(record_.path, root_ / "moved");
  fs::create_symlink("moved", record_.path);
  EXPECT_EQ(open_jail_directory(record_).error().kind, ErrorKind::kFailed);
  EXPECT_FALSE(remove_jail_directory(record_));
  EXPECT_TRUE(fs::exists(root_ / "moved" / "file"));
}

TEST_F(JailDirectoryTest, OneThatIsNotKnownIsRemovedOnlyIfEmpty) {
  record_.inode = 0;
  EXPECT_FALSE(remove_jail_directory(record_));
  EXPECT_TRUE(fs::exists(record_.path + "/file"));
  fs::remove(record_.path + "/file");
  EXPECT_TRUE(remove_jail_directory(record_));
  EXPECT_FALSE(fs::exists(record_.path));
}

}  // namespace
}  // namespace lamina::store
