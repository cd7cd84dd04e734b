#include "lifecycle/unfinished_pauses.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "lifecycle/pause_queue.h"
#include "lifecycle/pending_pause.h"
#include "lifecycle/prepared_pause.h"
#include "lifecycle/stop_after.h"
#include "scratch_directory.h"
#include "store/open_store.h"

namespace lamina::lifecycle {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kBytesOfPause = std::uint64_t{1} << 20;

class UnfinishedPausesTest : public testing::Test {
 protected:
  UnfinishedPausesTest() { fs::create_directory(directory_ / "store"); }

  [[nodiscard]] store::Store open() const {
    std::vector<std::string> notes;
    auto store = store::open_store((directory_ / "store").string(), notes);
    EXPECT_TRUE(store) << store.error().message;
    return std::move(*store);
  }

  /// Pauses of one VM that were not acknowledged, and whose processes are gone.
  static void leave_pauses(const store::Store& store, int count) {
    for (int i = 0; i < count; ++i) {
      store::PauseJournal journal;
      journal.pause_id = Uuid::random();
      journal.build_id = Uuid::random();
      journal.name = "a";
      journal.vm = "1-1";
      journal.memory_bytes = kBytesOfPause;
      journal.created = store::timestamp_now();
      const auto begun = PendingPause::begin(store, journal, kBytesOfPause, 0);
      ASSERT_TRUE(begun) << begun.error().message;
    }
  }

  static std::vector<store::PauseJournal> pauses(const store::Store& store) {
    const auto found = pending_pauses(store);
    EXPECT_TRUE(found) << found.error().message;
    return found->journals;
  }

  tests::ScratchDirectory scratch_;
  fs::path directory_ = scratch_.path();
};

TEST_F(UnfinishedPausesTest, PausesThatWereNotAcknowledgedAreDiscarded) {
  const store::Store store = open();
  leave_pauses(store, 3);
  StopAfter progress(1000);
  RecoverOptions options;
  options.progress = &progress;
  RecoverReport report;
  const Status ended = end_pauses(store, pauses(store), options, report);
  ASSERT_TRUE(ended) << ended.error().message;
  EXPECT_EQ(report.discarded, 3U);
  EXPECT_TRUE(pauses(store).empty());
  EXPECT_EQ(progress.total_bytes(), 3 * kBytesOfPause);
  EXPECT_EQ(progress.done_bytes(), 3 * kBytesOfPause);
}

TEST_F(UnfinishedPausesTest, PausesThatWereNotBegunStayWhenAskedToStop) {
  const store::Store store = open();
  leave_pauses(store, 3);
  StopAfter progress(1);
  RecoverOptions options;
  options.progress = &progress;
  RecoverReport report;
  const Status ended = end_pauses(store, pauses(store), options, report);
  ASSERT_FALSE(ended);
  EXPECT_EQ(ended.error().kind, ErrorKind::kInterrupted);
  EXPECT_EQ(report.discarded, 1U);
  EXPECT_EQ(pauses(store).size(), 2U);
}

TEST_F(UnfinishedPausesTest, AnIdWhoseMemoryIsStillMappedIsRefused) {
  const store::Store store = open();
  PauseOptions options;
  EXPECT_TRUE(check_pause_id(store, options));
  options.pause_id = Uuid::random();
  EXPECT_TRUE(check_pause_id(store, options));
  const fs::path maps = directory_ / "store" / store::kMapsArea;
  fs::create_directory(maps);
  std::ofstream(maps / options.pause_id->to_string()) << "memory";
  const Status refused = check_pause_id(store, options);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kExists);
}

}  // namespace
}  // namespace lamina::lifecycle
