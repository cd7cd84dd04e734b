#include "store/freeze_directory.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "os/directory.h"
#include "scratch_directory.h"

namespace lamina::store {
namespace {

namespace fs = std::filesystem;

class FreezeDirectoryTest : public testing::Test {
 protected:
  FreezeDirectoryTest() {
    fs::create_directory(area_);
    make();
    auto record = record_freeze_directory(fd_.get(), path_);
    EXPECT_TRUE(record) << record.error().message;
    record_ = record.value_or(FreezeDirectory{});
  }

  void make() {
    fs::create_directory(path_);
    fs::permissions(path_, fs::perms::owner_all);
    std::ofstream(path_ + "/file") << "file";
    auto opened = os::open_directory(AT_FDCWD, path_, path_);
    EXPECT_TRUE(opened) << opened.error().message;
    fd_ = std::move(*opened);
  }

  static FreezePresence presence_of(const FreezeDirectory& record) {
    const auto found = find_freeze_directory(record);
    EXPECT_TRUE(found) << found.error().message;
    return found ? found->presence : FreezePresence::kUnseen;
  }

  tests::ScratchDirectory scratch_;
  Uuid id_ = Uuid::random();
  std::string area_ = scratch_.file("area");
  std::string path_ = area_ + "/" + freeze_directory_name(id_);
  os::Fd fd_;
  FreezeDirectory record_;
};

TEST_F(FreezeDirectoryTest, RecordedDirectoryIsFoundAndRemoved) {
  EXPECT_EQ(presence_of(record_), FreezePresence::kThere);
  EXPECT_TRUE(remove_freeze_directory(record_));
  EXPECT_FALSE(fs::exists(path_));
  EXPECT_EQ(presence_of(record_), FreezePresence::kGone);
  EXPECT_TRUE(remove_freeze_directory(record_));
}

TEST_F(FreezeDirectoryTest, NoRecordIsNoDirectory) {
  EXPECT_EQ(presence_of({}), FreezePresence::kGone);
  EXPECT_TRUE(remove_freeze_directory({}));
}

TEST_F(FreezeDirectoryTest, DirectoryOfAnotherIdentityIsLeftAlone) {
  std::vector<FreezeDirectory> others(4, record_);
  others[0].boot_id = "7a1f6e0e-2f0e-4d3c-9a0a-0123456789ab";
  others[1].inode += 1;
  others[2].born_ns += 1;
  fs::rename(path_, path_ + "-away");
  make();  // a new one of the same name
  for (const FreezeDirectory& other : others) {
    EXPECT_EQ(presence_of(other), FreezePresence::kGone);
    EXPECT_TRUE(remove_freeze_directory(other));
    EXPECT_TRUE(fs::exists(path_ + "/file"));
  }
}

TEST_F(FreezeDirectoryTest, DirectoryThatOthersMayEnterIsNotTaken) {
  fs::permissions(path_, fs::perms::owner_all | fs::perms::group_exec);
  EXPECT_EQ(presence_of(record_), FreezePresence::kGone);
}

TEST_F(FreezeDirectoryTest, LinkToTheDirectoryIsNotTaken) {
  fs::rename(path_, path_ + "-away");
  fs::create_symlink(path_ + "-away", path_);
  EXPECT_FALSE(find_freeze_directory(record_));
}

TEST_F(FreezeDirectoryTest, AnotherFileSystemInItsPlaceHidesIt) {
  FreezeDirectory other = record_;
  other.device += 1;
  EXPECT_EQ(presence_of(other), FreezePresence::kUnseen);
  fs::remove_all(area_);
  EXPECT_EQ(presence_of(other), FreezePresence::kUnseen);
  EXPECT_EQ(presence_of(record_), FreezePresence::kGone);
}

TEST_F(FreezeDirectoryTest, AnswerIsReadBack) {
  EXPECT_EQ(read_freeze_answer(fd_.get(), path_, id_).value(), std::nullopt);
  const FreezeAnswer answer{id_, 1U << 20U, 17, 8192, 1'700'000'000'123'456'789};
  ASSERT_TRUE(write_freeze_answer(answer, fd_.get(), path_));
  EXPECT_EQ(read_freeze_answer(fd_.get(), path_, id_).value(), answer);
  EXPECT_EQ(read_freeze_answer(fd_.get(), path_, Uuid::random()).error().kind, ErrorKind::kCorrupt);
}

TEST_F(FreezeDirectoryTest, DamagedAnswerIsNotAMissingOne) {
  ASSERT_TRUE(write_freeze_answer({id_, 1, 2, 3, 4}, fd_.get(), path_));
  const fs::path file = path_ + "/.answer";
  const auto size = fs::file_size(file);
  for (std::uintmax_t length = 0; length + 1 < size; ++length) {
    fs::resize_file(file, length);
    const auto read = read_freeze_answer(fd_.get(), path_, id_);
    ASSERT_FALSE(read) << length;
    EXPECT_EQ(read.error().kind, ErrorKind::kCorrupt);
    ASSERT_TRUE(write_freeze_answer({id_, 1, 2, 3, 4}, fd_.get(), path_));
  }
}

TEST_F(FreezeDirectoryTest, AnswerDescribesOneStateOfTheFile) {
  os::FileFacts file;
  file.size_bytes = 1;
  file.inode = 2;
  file.allocated_bytes = 3;
  file.modified_ns = 4;
  const FreezeAnswer answer{id_, 1, 2, 3, 4};
  EXPECT_TRUE(answer.describes(file));
  for (std::uint64_t* field : {&file.size_bytes, &file.inode, &file.allocated_bytes}) {
    ++*field;
    EXPECT_FALSE(answer.describes(file));
    --*field;
  }
  ++file.modified_ns;
  EXPECT_FALSE(answer.describes(file));
}

TEST(FreezeDirectoryName, OnlyAbsolutePathsOfPausesAreOnes) {
  const std::string name = freeze_directory_name(Uuid::random());
  EXPECT_TRUE(is_freeze_directory("/dev/shm/" + name));
  EXPECT_FALSE(is_freeze_directory(name));
  EXPECT_FALSE(is_freeze_directory("/dev/shm/lamina-1"));
  EXPECT_FALSE(is_freeze_directory("/" + name + "/home"));
}

}  // namespace
}  // namespace lamina::store
