#include <fcntl.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/block.h"
#include "lamina/fork.h"
#include "lamina/ingest.h"
#include "lamina/lifecycle.h"
#include "lamina/remove.h"
#include "lamina/uuid.h"
#include "os/directory.h"
#include "scratch_directory.h"
#include "store/areas.h"
#include "store/arrival.h"
#include "store/arrival_removal.h"
#include "store/once_mark.h"
#include "store/open_store.h"
#include "store/push_record.h"
#include "store/resume_count.h"
#include "store/snapshot_directory.h"

namespace lamina {
namespace {

TEST(RecoverTest, TheOnlyResumeOfAnArrivingSnapshotStaysConsumed) {
  const tests::ScratchDirectory scratch;
  std::vector<std::string> notes;
  const auto store = store::open_store(scratch.path(), notes);
  ASSERT_TRUE(store) << store.error().message;
  store::ArrivalFacts facts;
  facts.id = Uuid::random();
  facts.belongs_to = store->identity();
  facts.name = "web";
  facts.pause_id = Uuid::random();
  const std::string path =
      scratch.file(std::string(store::kArrivingArea) + "/" + facts.id.to_string());
  std::filesystem::create_directories(path + "/" + store::kArrivalSnapshotName);
  std::ofstream(path + "/" + store::kArrivalFactsName) << store::encode_arrival_facts(facts);
  const auto directory = os::open_directory(AT_FDCWD, path, path);
  ASSERT_TRUE(directory);
  ASSERT_TRUE(store::ArrivalMap::make(directory->get(), path, 100, 1));
  // A resume is under way; else recovery removes what arrives.
  const auto hold = store::hold_arrival(directory->get(), path);
  ASSERT_TRUE(hold) << hold.error().message;
  const Uuid gone = Uuid::random();
  ASSERT_TRUE(store::consume_once(*store, facts.pause_id, "17-4711"));
  ASSERT_TRUE(store::consume_once(*store, gone, "18-4712"));

  RecoverOptions options;
  options.store = scratch.path();
  const auto recovered = recover(options);
  ASSERT_TRUE(recovered) << recovered.error().message;
  EXPECT_TRUE(store::consumed_once(store->fd(), facts.pause_id)->has_value());
  EXPECT_FALSE(store::consumed_once(store->fd(), gone)->has_value()) << "no snapshot of it is left";
}

/// A store of many snapshots, so that listing it takes its time.
class RecoverWhileSnapshotsMove : public testing::Test {
 protected:
  void SetUp() override {
    const std::string file = scratch_.file("memory");
    std::ofstream(file) << std::string(kBlockBytes, 'x');
    std::filesystem::create_directory(path_);
    ingest_as(file, "a");
    for (int i = 0; i < 200; ++i) fork("a", "a" + std::to_string(i));
    ingest_as(file, kFirst);
  }

  void ingest_as(const std::string& file, const std::string& name) const {
    IngestOptions options;
    options.memory_file = file;
    options.snapshot = path_ + "/" + name;
    options.layout = Layout::kCompact;
    const auto stored = ingest(options);
    ASSERT_TRUE(stored) << stored.error().message;
  }

  void fork(const std::string& from, const std::string& to) const {
    ForkOptions options;
    options.snapshot = path_ + "/" + from;
    options.fork = path_ + "/" + to;
    const auto forked = fork_snapshot(options);
    ASSERT_TRUE(forked) << forked.error().message;
  }

  void remove(const std::string& name) const {
    RemoveOptions options;
    options.snapshots = {path_ + "/" + name};
    const auto removed = remove_snapshots(options);
    ASSERT_TRUE(removed) << removed.error().message;
    ASSERT_FALSE(removed->snapshots.front().error);
  }

  // The last to be listed.
  static constexpr const char* kFirst = "z1";
  static constexpr const char* kSecond = "z2";

  // NOLINTBEGIN(*-non-private-member-variables-in-classes): a fixture
  tests::ScratchDirectory scratch_;
  std::string path_ = scratch_.file("store");
  // NOLINTEND(*-non-private-member-variables-in-classes)
};

// The store has a snapshot of the pause all the time, under one name or the other.
TEST_F(RecoverWhileSnapshotsMove, ItsResumesAndPushesStayOnRecord) {
  std::vector<std::string> notes;
  const auto store = store::open_store(path_, notes);
  ASSERT_TRUE(store) << store.error().message;
  const auto moved = store::open_snapshot(path_ + "/" + kFirst);
  ASSERT_TRUE(moved) << moved.error().message;
  ASSERT_TRUE(store::count_resume(*store, moved->pause_id));
  ASSERT_TRUE(store::write_push_record(*store, moved->pause_id, {"s3://b/", "web", 1}));
  std::string name = kFirst;
  std::string other = kSecond;
  for (int i = 0; i < 40; ++i) {
    std::thread recovery([&] {
      RecoverOptions options;
      options.store = path_;
      const auto recovered = recover(options);
      EXPECT_TRUE(recovered) << recovered.error().message;
    });
    fork(name, other);
    remove(name);
    recovery.join();
    ASSERT_EQ(store::resume_count(store->fd(), store->identity(), moved->pause_id), 1U)
        << "after recovery " << i;
    ASSERT_TRUE(store::was_pushed(path_, moved->pause_id)) << "after recovery " << i;
    std::swap(name, other);
  }
}

}  // namespace
}  // namespace lamina
