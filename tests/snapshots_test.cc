// Which snapshots are open, for whom, and for how long.
#include "server/snapshots.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "format/working_set.h"
#include "os/file.h"
#include "os/process.h"
#include "scratch_directory.h"
#include "stand_ins/known_snapshot.h"
#include "store/open_store.h"
#include "store/pin.h"
#include "store/store.h"

namespace lamina::server {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kPage = 4096;
constexpr std::size_t kPages = 64;

class SnapshotsTest : public testing::Test {
 protected:
  void SetUp() override {
    fs::create_directory(store_path());
    // g0, g1 and g2, each the parent of the next.
    ASSERT_TRUE(tests::make_snapshot(store_path(), kPages * kPage, 3, 11));
    auto store = store::open_store(store_path().string(), notes_);
    ASSERT_TRUE(store) << store.error().message;
    store_ = std::make_unique<store::Store>(std::move(*store));
  }

  [[nodiscard]] fs::path store_path() const { return root_ / "store"; }
  [[nodiscard]] std::string path_of(const std::string& name) const {
    return (store_path() / name).string();
  }

  /// A pin whose base is the snapshot `name`, new or exchanged for the one that it had.
  VmPin pin(pid_t pid, const std::string& name) {
    auto claimed = store::Pin::claim(*store_, pid, kStartTime);
    EXPECT_TRUE(claimed) << claimed.error().message;
    const auto snapshot = store::open_snapshot(path_of(name));
    EXPECT_TRUE(snapshot) << snapshot.error().message;
    const Status based = claimed->set_base(*snapshot);
    EXPECT_TRUE(based) << based.error().message;
    VmPin made{claimed->path(), claimed->base_path(), store::PinFacts()};
    made.facts->snapshot = name;
    return made;
  }

  Service opened(Snapshots& snapshots, const VmPin& pin) {
    auto service = snapshots.open_pin(pin, notes_);
    EXPECT_TRUE(service) << service.error().message;
    return service ? std::move(*service) : Service();
  }

  void write_working_set(const std::string& name) const {
    format::WorkingSet set;
    set.memory_bytes = kPages * kPage;
    set.runs = {{3, 2}, {9, 1}};
    const Status written = os::write_new_file(AT_FDCWD, path_of(name) + "/working-set",
                                              format::encode_working_set(set), name);
    ASSERT_TRUE(written) << written.error().message;
  }

  static pager::VmRecord record_of(pid_t pid, const Service& service) {
    pager::VmRecord record;
    record.pid = pid;
    record.start_time = kStartTime;
    record.snapshot = service.path;
    record.pause_id = service.snapshot->opened.pause_id;
    record.memory_bytes = kPages * kPage;
    return record;
  }

  static constexpr std::uint64_t kStartTime = 77;
  tests::ScratchDirectory scratch_;
  fs::path root_ = scratch_.path();
  std::vector<std::string> notes_;
  std::unique_ptr<store::Store> store_;
};

TEST_F(SnapshotsTest, ForksShareOneOpenSnapshotAndTheLastClosesIt) {
  Snapshots snapshots(Populate::kNone, false);
  Service first = opened(snapshots, pin(101, "g2"));
  Service second = opened(snapshots, pin(102, "g2"));
  EXPECT_EQ(first.snapshot, second.snapshot);
  EXPECT_NE(first.path, second.path);
  EXPECT_EQ(snapshots.open_count(), 1U);
  // Whatever becomes of the first one's pin: the second one's is what is served.
  fs::remove_all(store_path() / ".vms" / os::process_name(101, kStartTime));
  first = {};
  EXPECT_EQ(snapshots.open_count(), 1U);
  Service third = opened(snapshots, pin(103, "g2"));
  EXPECT_EQ(third.snapshot, second.snapshot);
  second = {};
  third = {};
  EXPECT_EQ(snapshots.open_count(), 0U);
}

TEST_F(SnapshotsTest, AVmWithAnExchangedBaseDoesNotShareTheOldOne) {
  Snapshots snapshots(Populate::kNone, false);
  const VmPin moving = pin(101, "g1");
  pin(101, "g2");
  const Service moved = opened(snapshots, moving);
  const Service staying = opened(snapshots, pin(102, "g1"));
  EXPECT_NE(moved.snapshot, staying.snapshot);
  EXPECT_NE(moved.snapshot->opened.pause_id, staying.snapshot->opened.pause_id);
  EXPECT_EQ(snapshots.open_count(), 2U);
}

TEST_F(SnapshotsTest, AVmIsFoundWithTheCurrentBaseOfItsPin) {
  Snapshots snapshots(Populate::kNone, false);
  Service before = opened(snapshots, pin(101, "g1"));
  pager::VmRecord record = record_of(101, before);
  const pager::VmRecord strangers = record_of(102, before);
  pin(101, "g2");
  auto after = snapshots.find(record, notes_);
  ASSERT_TRUE(after) << after.error().message;
  EXPECT_NE(after->snapshot->opened.pause_id, record.pause_id);
  EXPECT_EQ(after->path, before.path);
  before = {};

  record.memory_bytes += kPage;
  EXPECT_FALSE(snapshots.find(record, notes_));
  // The pin of another process is a snapshot like any other: its pause must be the same.
  EXPECT_FALSE(snapshots.find(strangers, notes_));
}

TEST_F(SnapshotsTest, AnOpenedSnapshotStaysOpenAndAnotherPauseIsRefused) {
  Snapshots snapshots(Populate::kNone, false);
  pager::VmRecord record;
  {
    const auto request = snapshots.request_for_named(path_of("g1"));
    ASSERT_TRUE(request) << request.error().message;
    auto files = read_files(*request);
    ASSERT_TRUE(files) << files.error().message;
    const auto named = snapshots.add(*request, std::move(*files), notes_);
    ASSERT_TRUE(named) << named.error().message;
    snapshots.keep_named(*named);
    record = record_of(101, *named);
  }
  EXPECT_EQ(snapshots.open_count(), 1U);
  fs::remove_all(path_of("g1"));
  EXPECT_TRUE(snapshots.find(record, notes_));
  // One that is found by its name only is let go with its VM.
  record.snapshot = path_of("g2");
  EXPECT_FALSE(snapshots.find(record, notes_));
  record.pause_id = store::open_snapshot(path_of("g2"))->pause_id;
  EXPECT_TRUE(snapshots.find(record, notes_));
  EXPECT_EQ(snapshots.open_count(), 1U);
}

TEST_F(SnapshotsTest, AForkResumedAfterARecordingReplaysIt) {
  Snapshots snapshots(Populate::kWorkingSet, false);
  const Service before = opened(snapshots, pin(101, "g2"));
  EXPECT_EQ(before.plan, nullptr);
  ASSERT_EQ(notes_.size(), 1U);
  write_working_set("g2");
  const Service after = opened(snapshots, pin(102, "g2"));
  EXPECT_EQ(after.snapshot, before.snapshot);
  ASSERT_NE(after.plan, nullptr);
  EXPECT_EQ(after.plan->first.size(), 2U);
  EXPECT_FALSE(after.plan->rest);
  EXPECT_EQ(opened(snapshots, pin(103, "g2")).plan, after.plan);
  EXPECT_EQ(notes_.size(), 1U);
}

TEST_F(SnapshotsTest, APinDecidesWhatIsPopulatedAndRecorded) {
  Snapshots snapshots(Populate::kWorkingSet, false);
  write_working_set("g2");
  VmPin some = pin(101, "g2");
  EXPECT_EQ(opened(snapshots, some).record, Recorded::kNothing);
  some.facts->record_faults = true;
  EXPECT_EQ(opened(snapshots, some).record, Recorded::kFaults);
  EXPECT_EQ(opened(snapshots, some).recorded_to, path_of("g2"));
  some.facts->record = true;
  some.facts->populate = Populate::kAll;
  const Service all = opened(snapshots, some);
  EXPECT_EQ(all.record, Recorded::kTouches);
  ASSERT_NE(all.plan, nullptr);
  EXPECT_TRUE(all.plan->rest);
  EXPECT_EQ(all.plan->first.size(), 2U);
  some.facts->populate = Populate::kNone;
  EXPECT_EQ(opened(snapshots, some).plan, nullptr);
}

}  // namespace
}  // namespace lamina::server
