#include "lifecycle/freeze_memory.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "os/file.h"
#include "scratch_directory.h"
#include "store/pending_area.h"

namespace lamina::lifecycle {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMib = std::uint64_t{1} << 20;

FreezeBudget budget_of(std::uint64_t most_bytes, std::uint64_t room_bytes,
                       std::uint64_t free_bytes) {
  return {most_bytes, {room_bytes, "the host", {}}, free_bytes};
}

TEST(FreezeBudgetTest, DefaultIsHalfOfWhatIsAvailable) {
  const FreezeBudget budget = budget_of(kFreezeMemoryShare, 100, 1000);
  EXPECT_EQ(why_not_reserved(budget, 0, 50), "");
  EXPECT_NE(why_not_reserved(budget, 0, 51), "");
  EXPECT_EQ(why_not_reserved(budget, 20, 30), "");
  EXPECT_NE(why_not_reserved(budget, 20, 31), "");
}

TEST(FreezeBudgetTest, GivenBudgetIsStillBoundedByMemory) {
  const FreezeBudget budget = budget_of(90, 80, 1000);
  EXPECT_EQ(why_not_reserved(budget, 0, 80), "");
  EXPECT_NE(why_not_reserved(budget, 0, 81), "");
  EXPECT_NE(why_not_reserved(budget_of(90, 1000, 1000), 40, 51), "");
}

TEST(FreezeBudgetTest, FreeSpaceOfTheTmpfsBoundsEachBudget) {
  EXPECT_NE(why_not_reserved(budget_of(kFreezeMemoryShare, 1000, 99), 0, 100), "");
  EXPECT_NE(why_not_reserved(budget_of(1000, 1000, 99), 0, 100), "");
}

TEST(FreezeBudgetTest, UnknownLimitsNeedAGivenBudget) {
  FreezeBudget budget = budget_of(kFreezeMemoryShare, 1000, 1000);
  budget.room.unknown = "not to be seen";
  EXPECT_NE(why_not_reserved(budget, 0, 1), "");
  budget.most_bytes = 1000;
  EXPECT_EQ(why_not_reserved(budget, 0, 1), "");
}

TEST(FreezeBudgetTest, LargeNumbersDoNotWrap) {
  const FreezeBudget budget = budget_of(1000, 1000, 1000);
  EXPECT_NE(why_not_reserved(budget, UINT64_MAX, 1), "");
  EXPECT_NE(why_not_reserved(budget, 1, UINT64_MAX), "");
}

class FreezeAreaTest : public testing::Test {
 protected:
  void SetUp() override {
    if (::access("/dev/shm", W_OK) != 0) GTEST_SKIP() << "/dev/shm cannot be written";
    fs::create_directories(store_ + "/.pending");
  }

  [[nodiscard]] FreezeArea area() const {
    auto opened = FreezeArea::open(path_);
    EXPECT_TRUE(opened) << opened.error().message;
    return std::move(*opened);
  }

  [[nodiscard]] Result<FreezeMemory> reserve(std::uint64_t bytes, const Uuid& id) const {
    return area().reserve(id, store_, bytes, budget_of(10 * kMib, 100 * kMib, 100 * kMib));
  }

  void write_journal(const Uuid& id) const {
    std::ofstream(store_ + "/.pending/" + store::journal_name(id.to_string())) << "{}";
  }

  tests::ScratchDirectory disk_;
  tests::ScratchDirectory memory_{::access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp"};
  std::string store_ = disk_.file("store");
  std::string path_ = memory_.file("area");
};

TEST_F(FreezeAreaTest, DirectoriesArePrivateAndOnRecord) {
  const Uuid id = Uuid::random();
  const auto memory = reserve(kMib, id);
  ASSERT_TRUE(memory) << memory.error().message;
  EXPECT_EQ(memory->record.path, path_ + "/" + store::freeze_directory_name(id));
  for (const std::string& path : {path_, memory->record.path}) {
    EXPECT_EQ(fs::status(path).permissions(), fs::perms::owner_all) << path;
  }
  const auto found = store::find_freeze_directory(memory->record);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->presence, store::FreezePresence::kThere);
}

TEST_F(FreezeAreaTest, ReservationsAddUpWhileTheirPausesLive) {
  const auto first = reserve(6 * kMib, Uuid::random());
  ASSERT_TRUE(first) << first.error().message;
  const auto refused = reserve(5 * kMib, Uuid::random());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kNoSpace);
  EXPECT_TRUE(reserve(4 * kMib, Uuid::random()));
}

TEST_F(FreezeAreaTest, WhatAKilledPauseHasLeftIsRemoved) {
  const Uuid id = Uuid::random();
  std::string left;
  {
    const auto killed = reserve(6 * kMib, id);
    ASSERT_TRUE(killed) << killed.error().message;
    left = killed->record.path;
  }
  EXPECT_TRUE(fs::exists(left));
  EXPECT_TRUE(reserve(6 * kMib, Uuid::random()));
  EXPECT_FALSE(fs::exists(left));
}

TEST_F(FreezeAreaTest, WhatAJournalNamesStaysAndCounts) {
  const Uuid id = Uuid::random();
  std::string left;
  {
    const auto queued = reserve(6 * kMib, id);
    ASSERT_TRUE(queued) << queued.error().message;
    left = queued->record.path;
    write_journal(id);
  }
  EXPECT_FALSE(reserve(6 * kMib, Uuid::random()));
  EXPECT_TRUE(fs::exists(left));
}

TEST_F(FreezeAreaTest, DirectoryOfAStoreThatIsNotThereStays) {
  std::string left;
  {
    const auto queued = reserve(kMib, Uuid::random());
    ASSERT_TRUE(queued) << queued.error().message;
    left = queued->record.path;
  }
  fs::rename(store_, store_ + "-moved");
  fs::create_directories(store_ + "/.pending");  // another store of that name
  EXPECT_TRUE(reserve(kMib, Uuid::random()));
  EXPECT_TRUE(fs::exists(left));
}

/// A field of `.reserved`, counted from 0, becomes `value`.
void change_line(const std::string& path, int line, const std::string& value) {
  std::ifstream in(path);
  std::string text;
  std::string each;
  for (int number = 0; std::getline(in, each); ++number) {
    text += (number == line ? value : each) + "\n";
  }
  std::ofstream(path) << text;
}

/// The answer says that the pause may have been acknowledged. Its own store decides whether it was.
TEST_F(FreezeAreaTest, AnswerOfAPauseThatItsStoreHasDiscardedIsRemoved) {
  const Uuid id = Uuid::random();
  std::string left;
  {
    const auto discarded = reserve(kMib, id);
    ASSERT_TRUE(discarded) << discarded.error().message;
    left = discarded->record.path;
    ASSERT_TRUE(store::write_freeze_answer({id, 1, 2, 3, 4}, discarded->directory.get(), left));
  }
  EXPECT_TRUE(reserve(kMib, Uuid::random()));
  EXPECT_FALSE(fs::exists(left));
}

/// In another mount namespace the path may lead to a volume whose directory has the same inode.
TEST_F(FreezeAreaTest, AnotherStoreOfThatPathDecidesNothing) {
  for (const int line : {1, 2, 3}) {  // device, inode, birth time
    const Uuid id = Uuid::random();
    std::string left;
    {
      const auto queued = reserve(kMib, id);
      ASSERT_TRUE(queued) << queued.error().message;
      left = queued->record.path;
    }
    change_line(left + "/.reserved", line, "12345");
    EXPECT_TRUE(reserve(kMib, Uuid::random()));
    EXPECT_TRUE(fs::exists(left)) << line;
  }
}

TEST_F(FreezeAreaTest, WithoutAReservationAnAnswerIsKept) {
  for (const bool has_answer : {false, true}) {
    for (const std::string reservation : {"", "4096\n77\n/store of version 0.2\n"}) {
      const Uuid id = Uuid::random();
      std::string left;
      {
        const auto killed = reserve(kMib, id);
        ASSERT_TRUE(killed) << killed.error().message;
        left = killed->record.path;
        if (has_answer) {
          ASSERT_TRUE(store::write_freeze_answer({id, 1, 2, 3, 4}, killed->directory.get(), left));
        }
      }
      fs::remove(left + "/.reserved");
      if (!reservation.empty()) std::ofstream(left + "/.reserved") << reservation;
      EXPECT_TRUE(reserve(kMib, Uuid::random()));
      EXPECT_EQ(fs::exists(left), has_answer) << reservation;
    }
  }
}

TEST_F(FreezeAreaTest, IdOfAnotherPauseIsNotUsedAgain) {
  const Uuid id = Uuid::random();
  const auto first = reserve(kMib, id);
  ASSERT_TRUE(first) << first.error().message;
  const auto second = reserve(kMib, id);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().kind, ErrorKind::kExists);
}

TEST_F(FreezeAreaTest, AreaThatOthersMayEnterIsRefused) {
  fs::create_directory(path_);
  fs::permissions(path_, fs::perms::owner_all | fs::perms::group_read);
  const auto opened = FreezeArea::open(path_);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().kind, ErrorKind::kPermission);
}

TEST_F(FreezeAreaTest, AreaOnADiskIsRefused) {
  const std::string path = disk_.file("area");
  fs::create_directory(path);
  const auto fd = os::open_at(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, path);
  ASSERT_TRUE(fd);
  if (os::is_on_tmpfs(fd->get())) GTEST_SKIP() << "temporary files are on tmpfs";
  fs::permissions(path, fs::perms::owner_all);
  const auto opened = FreezeArea::open(path);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().kind, ErrorKind::kUnsupported);
}

}  // namespace
}  // namespace lamina::lifecycle
