#include "store/jail_directory.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "os/directory.h"
#include "scratch_directory.h"

namespace lamina::store {
namespace {

namespace fs = std::filesystem;

class JailDirectoryTest : public testing::Test {
 protected:
  JailDirectoryTest() {
    record_.path = (root_ / jail_directory_name(Uuid::random())).string();
    fs::create_directory(record_.path);
    std::ofstream(record_.path + "/file") << "file";
    struct stat status{};
    EXPECT_EQ(::stat(record_.path.c_str(), &status), 0);
    record_.inode = status.st_ino;
  }

  tests::ScratchDirectory scratch_;
  fs::path root_ = scratch_.path();
  JailDirectory record_;
};

TEST_F(JailDirectoryTest, RecordedDirectoryIsOpenedAndRemoved) {
  EXPECT_TRUE(open_jail_directory(record_));
  EXPECT_TRUE(remove_jail_directory(record_));
  EXPECT_FALSE(fs::exists(record_.path));
  EXPECT_EQ(open_jail_directory(record_).error().kind, ErrorKind::kNotFound);
  EXPECT_TRUE(remove_jail_directory(record_));
}

TEST_F(JailDirectoryTest, OtherDirectoryInItsPlaceIsLeftAlone) {
  fs::rename(record_.path, root_ / "moved");
  fs::create_directory(record_.path);
  std::ofstream(record_.path + "/precious") << "precious";
  EXPECT_EQ(open_jail_directory(record_).error().kind, ErrorKind::kFailed);
  EXPECT_FALSE(remove_jail_directory(record_));
  EXPECT_TRUE(fs::exists(record_.path + "/precious"));
  EXPECT_TRUE(fs::exists(root_ / "moved" / "file"));
}

TEST_F(JailDirectoryTest, SymbolicLinkInItsPlaceIsNotFollowed) {
  fs::rename(record_.path, root_ / "moved");
  fs::create_symlink("moved", record_.path);
  EXPECT_EQ(open_jail_directory(record_).error().kind, ErrorKind::kFailed);
  EXPECT_FALSE(remove_jail_directory(record_));
  EXPECT_TRUE(fs::exists(root_ / "moved" / "file"));
}

TEST_F(JailDirectoryTest, DirectoryWithUnknownInodeIsRemovedOnlyIfEmpty) {
  record_.inode = 0;
  EXPECT_FALSE(remove_jail_directory(record_));
  EXPECT_TRUE(fs::exists(record_.path + "/file"));
  fs::remove(record_.path + "/file");
  EXPECT_TRUE(remove_jail_directory(record_));
  EXPECT_FALSE(fs::exists(record_.path));
}

}  // namespace
}  // namespace lamina::store
