// What hosts that share a bucket can rely on.
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string_view>

#include "lamina/compact.h"
#include "lamina/fork.h"
#include "lamina/merge.h"
#include "lamina/remove.h"
#include "object_store/blocking_store.h"
#include "packed/keys.h"
#include "remote/pin.h"
#include "remote/pull.h"
#include "remote/push.h"
#include "remote/remote_check.h"
#include "remote/remote_listing.h"
#include "remote/removal.h"
#include "remote/requests.h"
#include "remote/sandboxes.h"
#include "remote/troubled_store.h"
#include "store/open_store.h"
#include "store/push_record.h"

namespace lamina::tests {
namespace {

namespace fs = std::filesystem;

class RemoteHosts : public testing::Test {
 protected:
  Result<PushReport> push(const std::string& snapshot, const std::string& name,
                          packed::KeyWrapper* tenant = nullptr) {
    PushOptions options;
    options.snapshot = snapshot;
    options.name = name;
    return remote::push(bucket(), options, tenant);
  }
  Result<PullReport> pull(const std::string& name, const std::string& store,
                          const std::string& as = "", packed::KeyWrapper* tenant = nullptr) {
    PullOptions options;
    options.name = name;
    options.store = store;
    options.as = as;
    return remote::pull(bucket(), options, tenant);
  }
  object_store::ObjectStore& bucket() { return *bucket_; }

  Sandboxes sandboxes_{3};
  std::string here_ = sandboxes_.store("here");
  std::string there_ = sandboxes_.store("there");
  std::unique_ptr<object_store::ObjectStore> bucket_ = sandboxes_.open_bucket();
};

TEST_F(RemoteHosts, PulledSnapshotIsTheSamePauseAndItsDiffIsPushedOnTop) {
  const LocalSandbox first = sandboxes_.pause(here_, nullptr);
  const auto pushed = push(first.path, "web");
  ASSERT_TRUE(pushed) << pushed.error().message;
  EXPECT_EQ(pushed->number, 1U);
  const auto pulled = pull("web", there_);
  ASSERT_TRUE(pulled) << pulled.error().message;
  EXPECT_EQ(pulled->pause_id, first.state.pause_id);
  sandboxes_.expect_state(pulled->snapshot, first.state);
  const LocalSandbox arrived{pulled->snapshot, first.state};
  const LocalSandbox second = sandboxes_.pause(there_, &arrived, false);
  const auto pushed_again = push(second.path, "web");
  ASSERT_TRUE(pushed_again) << pushed_again.error().message;
  EXPECT_FALSE(pushed_again->is_conflict);
  EXPECT_EQ(pushed_again->number, 2U);
  EXPECT_GE(pushed_again->reused_objects, 1U);
}

TEST_F(RemoteHosts, SecondOfTwoDescendantsIsKeptUnderAnotherName) {
  const LocalSandbox first = sandboxes_.pause(here_, nullptr);
  ASSERT_TRUE(push(first.path, "web"));
  const LocalSandbox one = sandboxes_.pause(here_, &first);
  const LocalSandbox other = sandboxes_.pause(here_, &first);
  ASSERT_TRUE(push(one.path, "web"));
  const auto conflict = push(other.path, "web");
  ASSERT_TRUE(conflict) << conflict.error().message;
  EXPECT_TRUE(conflict->is_conflict);
  EXPECT_EQ(conflict->name, "web@" + other.state.pause_id.to_string());
  const auto winner = pull("web", there_, "winner");
  const auto loser = pull(conflict->name, there_, "loser");
  ASSERT_TRUE(winner && loser);
  sandboxes_.expect_state(winner->snapshot, one.state);
  sandboxes_.expect_state(loser->snapshot, other.state);
}

TEST_F(RemoteHosts, DescendantsOfALoserFollowItUnderItsName) {
  const LocalSandbox first = sandboxes_.pause(here_, nullptr);
  ASSERT_TRUE(push(first.path, "web"));
  const LocalSandbox winner = sandboxes_.pause(here_, &first);
  const LocalSandbox loser = sandboxes_.pause(here_, &first);
  ASSERT_TRUE(push(winner.path, "web"));
  const auto conflict = push(loser.path, "web");
  ASSERT_TRUE(conflict && conflict->is_conflict);
  LocalSandbox last = loser;
  for (std::uint64_t number = 2; number < 5; ++number) {
    last = sandboxes_.pause(here_, &last);
    const auto next = push(last.path, "web");
    ASSERT_TRUE(next) << next.error().message;
    EXPECT_TRUE(next->is_conflict);
    EXPECT_EQ(next->name, conflict->name);
    EXPECT_EQ(next->number, number);
    const auto again = push(last.path, "web");
    ASSERT_TRUE(again && again->is_already_there);
    EXPECT_EQ(again->name, conflict->name);
  }
  // Of two that descend from the loser, the second one gets a name of its own.
  const LocalSandbox other = sandboxes_.pause(here_, &loser);
  const auto second = push(other.path, "web");
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_EQ(second->name, "web@" + other.state.pause_id.to_string());
  sandboxes_.expect_newest(conflict->name, last.state);
  sandboxes_.expect_newest(second->name, other.state);
  sandboxes_.expect_newest("web", winner.state);
}

TEST_F(RemoteHosts, StateThatAConflictHasKeptIsNotUnpushed) {
  const LocalSandbox first = sandboxes_.pause(here_, nullptr);
  const std::string name = fs::path(first.path).filename().string();
  UnpushedOptions options;
  options.url = sandboxes_.url();
  options.store = here_;
  const auto before = list_unpushed(options);
  ASSERT_TRUE(before) << before.error().message;
  EXPECT_EQ(before->size(), 1U);
  std::vector<std::string> notes;
  const auto store = store::StoreSource().open(here_, notes);
  ASSERT_TRUE(store);
  // Under the name of an ancestor's conflict.
  const store::PushRecord record{bucket().name_of(""), name + "@" + Uuid::random().to_string(), 3};
  ASSERT_TRUE(store::write_push_record(**store, first.state.pause_id, record));
  EXPECT_TRUE(list_unpushed(options)->empty());
}

TEST_F(RemoteHosts, RepeatedPushSendsNothing) {
  const LocalSandbox first = sandboxes_.pause(here_, nullptr);
  ASSERT_TRUE(push(first.path, "web"));
  const auto again = push(first.path, "web");
  ASSERT_TRUE(again);
  EXPECT_TRUE(again->is_already_there);
  EXPECT_EQ(again->number, 1U);
  EXPECT_EQ(again->uploaded_objects, 0U);
}

TEST_F(RemoteHosts, LayersOfAnotherNameAreReused) {
  const LocalSandbox base = sandboxes_.pause(here_, nullptr, false);
  ASSERT_TRUE(push(base.path, "template"));
  const LocalSandbox child = sandboxes_.pause(here_, &base, false);
  const auto pushed = push(child.path, "web");
  ASSERT_TRUE(pushed) << pushed.error().message;
  EXPECT_GE(pushed->reused_objects, 1U);
}

TEST_F(RemoteHosts, LostRecordOfAPushIsFoundAgainFromThePauseId) {
  const LocalSandbox first = sandboxes_.pause(here_, nullptr);
  ASSERT_TRUE(push(first.path, "web"));
  fs::remove_all(fs::path(here_) / ".pushed");
  const LocalSandbox second = sandboxes_.pause(here_, &first);
  const auto pushed = push(second.path, "web");
  ASSERT_TRUE(pushed) << pushed.error().message;
  EXPECT_FALSE(pushed->is_conflict);
  EXPECT_EQ(pushed->number, 2U);
}

TEST_F(RemoteHosts, GrandchildFollowsThoughItsLayersAreMerged) {
  const LocalSandbox first = sandboxes_.pause(here_, nullptr);
  ASSERT_TRUE(push(first.path, "web"));
  fs::remove_all(fs::path(here_) / ".pushed");
  const LocalSandbox second = sandboxes_.pause(here_, &first);
  const LocalSandbox third = sandboxes_.pause(here_, &second);
  MergeOptions options;
  options.snapshot = third.path;
  ASSERT_TRUE(merge(options));
  const auto pushed = push(third.path, "web");
  ASSERT_TRUE(pushed) << pushed.error().message;
  EXPECT_FALSE(pushed->is_conflict);
  EXPECT_EQ(pushed->number, 2U);
}

TEST_F(RemoteHosts, DescendantsOfForksAreAConflictUnderOneName) {
  const LocalSandbox first = sandboxes_.pause(here_, nullptr);
  LocalSandbox twin = first;
  twin.path = here_ + "/twin";
  ForkOptions fork;
  fork.snapshot = first.path;
  fork.fork = twin.path;
  ASSERT_TRUE(fork_snapshot(fork));
  ASSERT_TRUE(push(first.path, "web"));
  const auto same = push(twin.path, "web");
  ASSERT_TRUE(same) << same.error().message;
  EXPECT_TRUE(same->is_already_there);  // a fork is the same state
  const LocalSandbox one = sandboxes_.pause(here_, &first);
  const LocalSandbox other = sandboxes_.pause(here_, &twin);
  MergeOptions options;
  options.snapshot = one.path;
  ASSERT_TRUE(merge(options));
  ASSERT_TRUE(push(one.path, "web"));
  const auto conflict = push(other.path, "web");
  ASSERT_TRUE(conflict) << conflict.error().message;
  EXPECT_TRUE(conflict->is_conflict);
}

TEST_F(RemoteHosts, LayersThatTheStoreHasAreLinked) {
  const LocalSandbox first = sandboxes_.pause(here_, nullptr, false);
  const LocalSandbox second = sandboxes_.pause(here_, &first, false);
  ASSERT_TRUE(push(first.path, "one"));
  ASSERT_TRUE(push(second.path, "two"));
  ASSERT_TRUE(pull("one", there_));
  const auto pulled = pull("two", there_);
  ASSERT_TRUE(pulled) << pulled.error().message;
  EXPECT_GE(pulled->linked_layers, 1U);
  sandboxes_.expect_state(pulled->snapshot, second.state);
}

TEST_F(RemoteHosts, PullDoesNotReplaceASnapshot) {
  const LocalSandbox first = sandboxes_.pause(here_, nullptr);
  ASSERT_TRUE(push(first.path, "web"));
  ASSERT_TRUE(pull("web", there_));
  const auto again = pull("web", there_);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().kind, ErrorKind::kExists);
}

TEST_F(RemoteHosts, RemovedNameCanBePushedAgainAboveItsRemoval) {
  const LocalSandbox first = sandboxes_.pause(here_, nullptr);
  ASSERT_TRUE(push(first.path, "web"));
  RemoteRemoveOptions options;
  options.name = "web";
  ASSERT_TRUE(remote::remove_name(bucket(), options));
  const auto gone = pull("web", there_);
  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().kind, ErrorKind::kNotFound);
  const auto pushed = push(first.path, "web");
  ASSERT_TRUE(pushed) << pushed.error().message;
  EXPECT_FALSE(pushed->is_already_there);
  EXPECT_EQ(pushed->number, 3U);
  ASSERT_TRUE(pull("web", there_));
}

TEST_F(RemoteHosts, DryRunsChangeNothingAndForetell) {
  LocalSandbox last = sandboxes_.pause(here_, nullptr, false);
  ASSERT_TRUE(push(last.path, "web"));
  for (int i = 0; i < 3; ++i) {
    last = sandboxes_.pause(here_, &last, false);
    MergeOptions merge_options;
    merge_options.snapshot = last.path;
    ASSERT_TRUE(merge(merge_options));
    ASSERT_TRUE(push(last.path, "web"));
  }
  PruneOptions options;
  options.keep_last = 1;
  options.dry_run = true;
  const auto foretold = remote::prune(bucket(), options);
  ASSERT_TRUE(foretold) << foretold.error().message;
  EXPECT_EQ(foretold->removed_records, 3U);
  EXPECT_GE(foretold->removed_objects, 3U);
  const auto use = remote::use(bucket(), {});
  ASSERT_TRUE(use);
  EXPECT_EQ(use->snapshots, 4U);
  options.dry_run = false;
  const auto done = remote::prune(bucket(), options);
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(done->removed_records, foretold->removed_records);
  EXPECT_EQ(done->removed_objects, foretold->removed_objects);
  EXPECT_EQ(done->removed_bytes, foretold->removed_bytes);
  const auto pulled = pull("web", there_);
  ASSERT_TRUE(pulled);
  sandboxes_.expect_state(pulled->snapshot, last.state);
}

TEST_F(RemoteHosts, DryRunOfAPushWritesNothingAndForetells) {
  const LocalSandbox first = sandboxes_.pause(here_, nullptr, false);
  const LocalSandbox second = sandboxes_.pause(here_, &first, false);
  const LocalSandbox rival = sandboxes_.pause(here_, &first, false);
  const auto foretell = [&](const LocalSandbox& snapshot) {
    TroubledStore store(sandboxes_.open_bucket(),
                        [](std::uint64_t, const object_store::Request& request) {
                          EXPECT_FALSE(object_store::is_write(request.operation));
                          return Trouble::kNone;
                        });
    PushOptions options;
    options.snapshot = snapshot.path;
    options.name = "web";
    options.dry_run = true;
    return remote::push(store, options, nullptr);
  };
  for (const LocalSandbox* snapshot : {&first, &second, &rival}) {
    const auto foretold = foretell(*snapshot);
    ASSERT_TRUE(foretold) << foretold.error().message;
    const auto pushed = push(snapshot->path, "web");
    ASSERT_TRUE(pushed) << pushed.error().message;
    EXPECT_EQ(foretold->number, pushed->number);
    EXPECT_EQ(foretold->name, pushed->name);
    EXPECT_EQ(foretold->is_conflict, pushed->is_conflict);
    EXPECT_EQ(foretold->uploaded_objects, pushed->uploaded_objects);
    EXPECT_EQ(foretold->reused_objects, pushed->reused_objects);
    EXPECT_EQ(foretold->reused_bytes, pushed->reused_bytes);
    EXPECT_GT(foretold->uploaded_bytes, 0U);
    EXPECT_TRUE(foretell(*snapshot)->is_already_there);
  }
  // Of a bucket that is gone, nothing is believed.
  fs::remove_all(sandboxes_.bucket_directory());
  const auto foretold = foretell(second);
  ASSERT_TRUE(foretold) << foretold.error().message;
  EXPECT_EQ(foretold->number, 1U);
  EXPECT_EQ(foretold->reused_objects, 0U);
  EXPECT_TRUE(fs::is_empty(sandboxes_.bucket_directory()));
}

TEST_F(RemoteHosts, PruneBesideAPushKeepsWhatThePushNeeds) {
  const LocalSandbox first = sandboxes_.pause(here_, nullptr, false);
  ASSERT_TRUE(push(first.path, "old"));
  const LocalSandbox second = sandboxes_.pause(here_, &first, false);
  RemoteRemoveOptions removal;
  removal.name = "old";
  ASSERT_TRUE(remote::remove_name(bucket(), removal));
  // A whole cycle before each request of the push.
  TroubledStore store(sandboxes_.open_bucket(), [&](std::uint64_t, const object_store::Request&) {
    const auto other = sandboxes_.open_bucket();
    EXPECT_TRUE(remote::prune(*other, {}));
    return Trouble::kNone;
  });
  PushOptions options;
  options.snapshot = second.path;
  options.name = "web";
  const auto pushed = remote::push(store, options, nullptr);
  ASSERT_TRUE(pushed) << pushed.error().message;
  sandboxes_.expect_nothing_left_over();
  const auto pulled = pull("web", there_);
  ASSERT_TRUE(pulled) << pulled.error().message;
  sandboxes_.expect_state(pulled->snapshot, second.state);
}

TEST_F(RemoteHosts, PushWhosePinExpiresBeginsAgain) {
  const LocalSandbox first = sandboxes_.pause(here_, nullptr, false);
  // A collector to which all pins are expired, once, just before the manifest.
  bool was_expired = false;
  TroubledStore store(
      sandboxes_.open_bucket(), [&](std::uint64_t, const object_store::Request& request) {
        const bool is_manifest = request.operation == object_store::Operation::kPut &&
                                 request.key.starts_with(remote::kRecordsPrefix);
        if (is_manifest && !was_expired) {
          was_expired = true;
          sandboxes_.expect_nothing_left_over();
        }
        return Trouble::kNone;
      });
  PushOptions options;
  options.snapshot = first.path;
  options.name = "web";
  const auto pushed = remote::push(store, options, nullptr);
  ASSERT_TRUE(pushed) << pushed.error().message;
  EXPECT_TRUE(was_expired);
  EXPECT_FALSE(pushed->is_conflict);
  EXPECT_EQ(pushed->number, 2U);  // a void has the first
  sandboxes_.expect_nothing_left_over();
  const auto pulled = pull("web", there_);
  ASSERT_TRUE(pulled) << pulled.error().message;
  sandboxes_.expect_state(pulled->snapshot, first.state);
}

TEST_F(RemoteHosts, EncryptedSnapshotNeedsItsKey) {
  const std::string key_path = (sandboxes_.root() / "key").string();
  std::ofstream(key_path) << std::string(64, 'a');
  fs::permissions(key_path, fs::perms::owner_read | fs::perms::owner_write);
  const auto key = packed::read_key_file(key_path);
  ASSERT_TRUE(key) << key.error().message;
  const LocalSandbox first = sandboxes_.pause(here_, nullptr);
  ASSERT_TRUE(push(first.path, "web", key->get()));
  const LocalSandbox second = sandboxes_.pause(here_, &first);
  const auto pushed = push(second.path, "web", key->get());
  ASSERT_TRUE(pushed) << pushed.error().message;
  EXPECT_GE(pushed->reused_objects, 1U);
  const auto refused = pull("web", there_);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kUsage);
  const auto pulled = pull("web", there_, "", key->get());
  ASSERT_TRUE(pulled) << pulled.error().message;
  sandboxes_.expect_state(pulled->snapshot, second.state);
  const auto listed = remote::list(bucket(), {});
  ASSERT_TRUE(listed);
  ASSERT_EQ(listed->snapshots.size(), 1U);
  EXPECT_TRUE(listed->snapshots.front().encrypted);
  sandboxes_.expect_nothing_left_over();
}

TEST_F(RemoteHosts, DamagedAndMissingObjectsAreFound) {
  const LocalSandbox first = sandboxes_.pause(here_, nullptr, false);
  ASSERT_TRUE(push(first.path, "web"));
  RemoteVerifyOptions options;
  options.data = true;
  const auto intact = remote::verify(bucket(), options, nullptr);
  ASSERT_TRUE(intact) << intact.error().message;
  EXPECT_TRUE(intact->is_intact());
  EXPECT_GT(intact->checked_blocks, 0U);
  const fs::path layers = fs::path(sandboxes_.bucket_directory()) / "v1/layers";
  const fs::path layer = fs::directory_iterator(layers)->path();
  {
    std::fstream file(layer, std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(100);
    file.put('x');
    file.put('y');
  }
  const auto damaged = remote::verify(bucket(), options, nullptr);
  ASSERT_TRUE(damaged) << damaged.error().message;
  EXPECT_FALSE(damaged->is_intact());
  const auto pulled = pull("web", there_);
  ASSERT_FALSE(pulled);
  EXPECT_EQ(pulled.error().kind, ErrorKind::kCorrupt);
  fs::remove(layer);
  options.data = false;
  const auto missing = remote::verify(bucket(), options, nullptr);
  ASSERT_TRUE(missing) << missing.error().message;
  EXPECT_FALSE(missing->is_intact());
  const auto absent = pull("web", there_);
  ASSERT_FALSE(absent);
  EXPECT_EQ(absent.error().kind, ErrorKind::kCorrupt);
}

TEST_F(RemoteHosts, UnreadableRecordEndsAPrune) {
  const LocalSandbox first = sandboxes_.pause(here_, nullptr, false);
  ASSERT_TRUE(push(first.path, "web"));
  const fs::path records = fs::path(sandboxes_.bucket_directory()) / "v1/snapshots";
  std::ofstream(records / "other.0000000000000001") << "not a record";
  std::ofstream(fs::path(sandboxes_.bucket_directory()) / "v1/layers/orphan") << "x";
  const auto use = remote::use(bucket(), {});
  EXPECT_FALSE(use);
  const auto pruned = remote::prune(bucket(), {});
  ASSERT_FALSE(pruned);
  EXPECT_EQ(pruned.error().kind, ErrorKind::kCorrupt);
  const auto listed = remote::list(bucket(), {});
  ASSERT_TRUE(listed) << listed.error().message;
  ASSERT_EQ(listed->snapshots.size(), 2U);
  EXPECT_TRUE(listed->snapshots[0].error);
  EXPECT_FALSE(listed->snapshots[1].error);
}

/// Asks to stop at once, or after some questions.
class Interruption : public Progress {
 public:
  explicit Interruption(int after) : left_(after) {}
  void begin(std::string_view, std::uint64_t) override {}
  void advance(std::uint64_t) override {}
  bool interrupted() override { return left_-- <= 0; }

 private:
  int left_;
};

TEST_F(RemoteHosts, InterruptedPushAndPullLeaveNothing) {
  const LocalSandbox first = sandboxes_.pause(here_, nullptr);
  bool is_done = false;
  for (int after = 0; !is_done; ++after) {
    ASSERT_LT(after, 500);
    Interruption interruption(after);
    PushOptions options;
    options.snapshot = first.path;
    options.name = "web";
    options.progress = &interruption;
    const auto pushed = remote::push(bucket(), options, nullptr);
    is_done = pushed.has_value();
    if (!is_done) {
      EXPECT_EQ(pushed.error().kind, ErrorKind::kInterrupted) << pushed.error().message;
    }
  }
  is_done = false;
  for (int after = 0; !is_done; ++after) {
    ASSERT_LT(after, 500);
    Interruption interruption(after);
    PullOptions options;
    options.name = "web";
    options.store = there_;
    options.progress = &interruption;
    const auto pulled = remote::pull(bucket(), options, nullptr);
    is_done = pulled.has_value();
    if (!is_done) {
      EXPECT_EQ(pulled.error().kind, ErrorKind::kInterrupted) << pulled.error().message;
      EXPECT_FALSE(fs::exists(there_ + "/web"));
    }
  }
  sandboxes_.expect_state(there_ + "/web", first.state);
  sandboxes_.expect_nothing_left_over();
}

/// The names of the snapshots in `store` that wait to be pushed.
std::vector<std::string> unpushed_names(const std::string& url, const std::string& store,
                                        const std::string& pattern = "*",
                                        std::optional<Uuid> bucket_id = {}) {
  std::vector<std::string> names;
  const auto states =
      list_unpushed({.url = url, .store = store, .pattern = pattern, .bucket_id = bucket_id});
  if (!states) return {states.error().message};
  names.reserve(states->size());
  for (const UnpushedState& state : *states) names.push_back(state.name);
  return names;
}

std::string name_of(const LocalSandbox& sandbox) { return fs::path(sandbox.path).filename(); }

TEST_F(RemoteHosts, StateIsUnpushedUntilItsPushUnderItsNameOrAfterAConflict) {
  const std::string url = sandboxes_.url();
  const LocalSandbox first = sandboxes_.pause(here_, nullptr);
  const LocalSandbox second = sandboxes_.pause(here_, nullptr);
  const std::string one = name_of(first);
  const std::string two = name_of(second);
  EXPECT_EQ(unpushed_names(url, here_), (std::vector{one, two}));
  EXPECT_EQ(unpushed_names(url, here_, one + "*"), std::vector{one});
  ASSERT_TRUE(push(first.path, "other"));
  EXPECT_EQ(unpushed_names(url, here_), (std::vector{one, two}));
  ASSERT_TRUE(push(first.path, one));
  EXPECT_EQ(unpushed_names(url, here_), std::vector{two});
  EXPECT_EQ(unpushed_names("file:///another", here_), (std::vector{one, two}));
  const LocalSandbox rival = sandboxes_.pause(there_, nullptr);
  ASSERT_TRUE(push(rival.path, two));
  const auto conflict = push(second.path, two);
  ASSERT_TRUE(conflict && conflict->is_conflict);
  EXPECT_TRUE(unpushed_names(url, here_).empty());
  ASSERT_TRUE(pull(one, there_));
  EXPECT_EQ(unpushed_names(url, there_), std::vector{name_of(rival)});
}

TEST_F(RemoteHosts, StateIsUnpushedAgainOnceItsBucketWasEmptiedOrMadeAnew) {
  const std::string url = sandboxes_.url();
  const auto read_id = [&] { return read_bucket_id({.url = url}); };
  const LocalSandbox first = sandboxes_.pause(here_, nullptr);
  const std::vector one{name_of(first)};
  const auto none = read_id();
  ASSERT_TRUE(none) << none.error().message;
  EXPECT_TRUE(none->is_nil());
  ASSERT_TRUE(push(first.path, one.front()));
  const auto before = read_id();
  ASSERT_TRUE(before && !before->is_nil());
  EXPECT_TRUE(unpushed_names(url, here_, "*", *before).empty());
  for (const auto& entry : fs::directory_iterator(sandboxes_.bucket_directory())) {
    fs::remove_all(entry.path());
  }
  bucket_ = sandboxes_.open_bucket();
  const auto emptied = read_id();
  ASSERT_TRUE(emptied && emptied->is_nil());
  EXPECT_EQ(unpushed_names(url, here_, "*", *emptied), one);
  const auto again = push(first.path, one.front());
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_FALSE(again->is_already_there);
  const auto anew = read_id();
  ASSERT_TRUE(anew && *anew != *before);
  EXPECT_EQ(unpushed_names(url, here_, "*", *before), one);
  EXPECT_TRUE(unpushed_names(url, here_, "*", *anew).empty());
}

TEST_F(RemoteHosts, RequestsAreCounted) {
  const LocalSandbox first = sandboxes_.pause(here_, nullptr);
  RemoteRequests requests;
  PushOptions options;
  options.url = sandboxes_.url();
  options.snapshot = first.path;
  options.requests = &requests;
  ASSERT_TRUE(push_snapshot(options));
  EXPECT_GT(requests.by_outcome["done"], 5U);
  EXPECT_EQ(requests.repeated, 0U);
}

/// Interrupts a moment after the upload has begun.
class Impatience final : public Progress {
 public:
  void begin(std::string_view /*phase*/, std::uint64_t /*total_bytes*/) override {
    end_ = std::chrono::steady_clock::now() + std::chrono::milliseconds(200);
  }
  void advance(std::uint64_t /*bytes*/) override {}
  [[nodiscard]] bool interrupted() override {
    return end_ && std::chrono::steady_clock::now() > *end_;
  }

 private:
  std::optional<std::chrono::steady_clock::time_point> end_;
};

TEST_F(RemoteHosts, PushThatMayUseOneByteASecondDoesNotEndAndCanBeInterrupted) {
  const LocalSandbox first = sandboxes_.pause(here_, nullptr);
  PushOptions options;
  options.snapshot = first.path;
  options.rate_limit_bytes_s = 1;
  Impatience progress;
  options.progress = &progress;
  const auto pushed = remote::push(bucket(), options, nullptr);
  ASSERT_FALSE(pushed);
  EXPECT_EQ(pushed.error().kind, ErrorKind::kInterrupted);
  // Descendants must not forget it: its manifest might have been sent.
  const fs::directory_iterator records(fs::path(here_) / ".pushed");
  ASSERT_NE(records, fs::directory_iterator());
  EXPECT_EQ(records->path().extension(), ".began");
}

}  // namespace
}  // namespace lamina::tests
