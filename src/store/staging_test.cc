#include "store/staging.h"

#include <gtest/gtest.h>

#include <atomic>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "os/directory.h"
#include "scratch_directory.h"
#include "store/open_store.h"
#include "store/pause_journal.h"
#include "store/pending_area.h"

namespace lamina::store {
namespace {

constexpr int kMakers = 4;
constexpr int kCleaners = 4;
constexpr int kPausesOfAMaker = 150;

PauseJournal journal_of_pause(const Store& store) {
  PauseJournal journal;
  journal.belongs_to = store.identity();
  journal.pause_id = Uuid::random();
  journal.build_id = Uuid::random();
  journal.name = "a";
  journal.kind = MemoryFileKind::kFull;
  journal.vm = "1-1";
  journal.api_socket = "/run/vm.sock";
  journal.created = "2024-12-01T00:00:00Z";
  journal.memory_bytes = 4096;
  return journal;
}

/// Begins a pause and ends it again. What is gone meanwhile; empty if nothing is.
std::string begin_and_end_pause(const Store& store) {
  const PauseJournal journal = journal_of_pause(store);
  const std::string id = journal.pause_id.to_string();
  const auto staging = Staging::create(store, Area::kPending, journal.pause_id);
  if (!staging) return staging.error().message;
  const Status written = replace_journal(store, id, encode_pause_journal(journal));
  if (!written) return written.error().message;
  // What others do meanwhile is done to a directory that is locked.
  for (int i = 0; i < 20; ++i) {
    const auto opened = os::open_directory(store.pending_area(), id, staging->path());
    if (!opened) return opened.error().message;
    if (!os::name_exists(store.pending_area(), journal_name(id))) return "its journal is gone";
  }
  std::vector<std::string> notes;
  const Status removed = remove_pending(store, id, notes);
  if (!removed) return removed.error().message;
  const Status ended = os::remove_file(store.pending_area(), journal_name(id), id);
  return ended ? "" : ended.error().message;
}

class StagingTest : public testing::Test {
 protected:
  void SetUp() override {
    auto opened = open_store(scratch_.path(), notes_);
    ASSERT_TRUE(opened) << opened.error().message;
    store_.emplace(std::move(*opened));
  }

  tests::ScratchDirectory scratch_;
  std::vector<std::string> notes_;
  std::optional<Store> store_;
};

// A clean-up may remove a directory that was just made and is not locked yet; then it is made
// again, under the same name. A second clean-up, which has seen it absent in between, must not
// remove what has the name now.
TEST_F(StagingTest, CleanUpsLeaveAlonePausesThatBegin) {
  std::atomic<int> makers = kMakers;
  std::vector<std::string> gone(kMakers);
  std::vector<std::thread> threads;
  threads.reserve(kMakers + kCleaners);
  for (int maker = 0; maker < kMakers; ++maker) {
    threads.emplace_back([&, maker] {
      auto& found = gone[static_cast<std::size_t>(maker)];
      for (int i = 0; i < kPausesOfAMaker && found.empty(); ++i) {
        found = begin_and_end_pause(*store_);
      }
      --makers;
    });
  }
  for (int cleaner = 0; cleaner < kCleaners; ++cleaner) {
    threads.emplace_back([&] {
      while (makers > 0) {
        std::vector<std::string> notes;
        static_cast<void>(open_store(scratch_.path(), notes));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::string& found : gone) EXPECT_EQ(found, "");
}

TEST_F(StagingTest, DirectoryOfAProcessThatDidNotEndIsRemoved) {
  const Uuid id = Uuid::random();
  {
    ASSERT_TRUE(Staging::create(*store_, Area::kPending, id));
  }
  ASSERT_TRUE(os::name_exists(store_->pending_area(), id.to_string()));
  ASSERT_TRUE(open_store(scratch_.path(), notes_));
  EXPECT_FALSE(os::name_exists(store_->pending_area(), id.to_string()));
}

TEST_F(StagingTest, TornJournalOfAnAdoptionIsRemoved) {
  const std::string id = Uuid::random().to_string();
  ASSERT_TRUE(replace_journal(*store_, id, "{\"adop"));
  ASSERT_TRUE(open_store(scratch_.path(), notes_));
  EXPECT_FALSE(os::name_exists(store_->pending_area(), journal_name(id)));
}

TEST_F(StagingTest, JournalOfAPauseStays) {
  const PauseJournal journal = journal_of_pause(*store_);
  const std::string id = journal.pause_id.to_string();
  ASSERT_TRUE(replace_journal(*store_, id, encode_pause_journal(journal)));
  ASSERT_TRUE(open_store(scratch_.path(), notes_));
  EXPECT_TRUE(os::name_exists(store_->pending_area(), journal_name(id)));
}

}  // namespace
}  // namespace lamina::store
