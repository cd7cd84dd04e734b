// What operations on a bucket cost in requests and in round trips that depend on each other
// (docs/remote.md, "Costs").
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <functional>

#include "object_store/blocking_store.h"
#include "remote/arrival_start.h"
#include "remote/names.h"
#include "remote/pull.h"
#include "remote/push.h"
#include "remote/removal.h"
#include "remote/round_store.h"
#include "remote/sandboxes.h"

namespace lamina::tests {
namespace {

namespace fs = std::filesystem;

class RemoteCost : public testing::Test {
 protected:
  void SetUp() override {
    base_ = sandboxes_.pause(here_, nullptr, false);
    // A VM state in the manifest, so that a state has one object for each layer.
    while (fs::file_size(fs::path(base_.path) / "snapfile") > 60'000) {
      base_ = sandboxes_.pause(here_, nullptr, false);
    }
  }

  LocalSandbox diff_of(const LocalSandbox& parent) {
    LocalSandbox made = sandboxes_.pause(here_, &parent, false);
    while (fs::file_size(fs::path(made.path) / "snapfile") > 60'000) {
      made = sandboxes_.pause(here_, &parent, false);
    }
    return made;
  }

  StoreCost cost_of(const std::string& what,
                    const std::function<void(object_store::ObjectStore&)>& operation) {
    RoundStore store(sandboxes_.open_bucket());
    operation(store);
    std::printf("%s: %s\n", what.c_str(), store.cost().text().c_str());
    RecordProperty(what, store.cost().text());
    return store.cost();
  }

  StoreCost cost_of_push(const std::string& what, const LocalSandbox& snapshot) {
    return cost_of(what, [&](object_store::ObjectStore& store) {
      PushOptions options;
      options.snapshot = snapshot.path;
      options.name = "web";
      last_ = remote::push(store, options, nullptr);
      ASSERT_TRUE(last_) << last_.error().message;
      EXPECT_FALSE(last_->is_conflict);
    });
  }

  StoreCost cost_of_pull(const std::string& what, const std::string& store_path) {
    return cost_of(what, [&](object_store::ObjectStore& store) {
      PullOptions options;
      options.name = "web";
      options.store = store_path;
      options.as = sandboxes_.fresh_name();
      const auto report = remote::pull(store, options, nullptr);
      ASSERT_TRUE(report) << report.error().message;
    });
  }

  /// A lazy pull, until the VM may run.
  StoreCost cost_of_lazy_pull(const std::string& what, bool arrives = true) {
    return cost_of(what, [&](object_store::ObjectStore& store) {
      LazyPullOptions options;
      options.pull.name = "web";
      options.pull.store = sandboxes_.store(sandboxes_.fresh_name());
      const auto report = remote::pull_lazily(store, options, nullptr);
      ASSERT_TRUE(report) << report.error().message;
      EXPECT_EQ(report->is_arriving, arrives);
    });
  }

  /// A snapshot whose VM state is an object.
  LocalSandbox with_large_state(const LocalSandbox* parent) {
    LocalSandbox made = sandboxes_.pause(here_, parent, false);
    while (fs::file_size(fs::path(made.path) / "snapfile") <= std::size_t{64} << 10) {
      made = sandboxes_.pause(here_, parent, false);
    }
    return made;
  }

  Sandboxes sandboxes_{5};
  std::string here_ = sandboxes_.store("here");
  LocalSandbox base_;
  Result<PushReport> last_ = std::unexpected(Error{});
};

TEST_F(RemoteCost, PushAndPullNeedFewRequestsAndFewerRounds) {
  const StoreCost first = cost_of_push("first push", base_);
  // Format (and its PUT), list, list of the layer, pin, object, its size, manifest, list, pin.
  EXPECT_LE(first.total(), 10U);
  EXPECT_LE(first.rounds, 8U);
  const LocalSandbox second = diff_of(base_);
  const StoreCost diff = cost_of_push("push of a diff", second);
  EXPECT_EQ(last_->uploaded_objects, 1U);
  EXPECT_EQ(last_->reused_objects, 1U);
  // List and manifest before, pin, two for each object, manifest, list, pin.
  EXPECT_LE(diff.total(), 10U);
  EXPECT_LE(diff.rounds, 6U);
  const StoreCost nothing = cost_of_push("push of what is there", second);
  EXPECT_TRUE(last_->is_already_there);
  EXPECT_LE(nothing.total(), 3U);
  EXPECT_LE(nothing.rounds, 2U);
  EXPECT_EQ(nothing.sent_bytes, 0U);
  // Format, list, manifest, one range of each object.
  const StoreCost pulled = cost_of_pull("pull", sandboxes_.store("there"));
  EXPECT_LE(pulled.total(), 5U);
  EXPECT_LE(pulled.rounds, 3U);
  const StoreCost linked = cost_of_pull("pull of layers that are here", sandboxes_.store("there"));
  EXPECT_LE(linked.total(), 3U);
  EXPECT_LE(linked.rounds, 2U);
}

TEST_F(RemoteCost, LazyPullHasFewRoundsBeforeTheVmRuns) {
  cost_of_push("first push", base_);
  // Format, list and manifest; pin; list of tombstones; HEAD.
  const StoreCost first = cost_of_lazy_pull("lazy pull of the first state");
  EXPECT_LE(first.total(), 6U);
  EXPECT_LE(first.rounds, 4U);
  const LocalSandbox second = with_large_state(&base_);
  cost_of_push("push of a diff", second);
  // The number must be listed. The VM state is fetched while the objects are checked.
  const StoreCost diff = cost_of_lazy_pull("lazy pull of a later state");
  EXPECT_LE(diff.total(), 12U);
  EXPECT_LE(diff.rounds, 5U);
}

TEST_F(RemoteCost, LazyPullFetchesTheVmStateDuringTheChecks) {
  cost_of_push("first push", with_large_state(nullptr));
  const StoreCost cost = cost_of_lazy_pull("lazy pull with a large VM state");
  EXPECT_LE(cost.total(), 9U);
  EXPECT_LE(cost.rounds, 4U);
}

TEST_F(RemoteCost, LazyPullOfWhatACollectorIsAboutToDeleteFetchesEverything) {
  cost_of_push("first push", base_);
  const auto objects = sandboxes_.open_bucket();
  object_store::BlockingStore requests(*objects);
  const auto layers = requests.list_all(std::string(remote::kLayersPrefix));
  ASSERT_TRUE(layers);
  ASSERT_EQ(layers->size(), 1U);
  const std::string tombstone = remote::tombstone_key(layers->front().key, Uuid::random());
  ASSERT_TRUE(requests.put(tombstone, {}).ok());
  cost_of_lazy_pull("lazy pull of an object with a tombstone", false);
  const auto pins = requests.list_all(std::string(remote::kPinsPrefix));
  ASSERT_TRUE(pins);
  EXPECT_TRUE(pins->empty());
}

TEST_F(RemoteCost, RemovalAndPruneOfLittle) {
  cost_of_push("first push", base_);
  const StoreCost idle = cost_of("prune of nothing", [](object_store::ObjectStore& store) {
    ASSERT_TRUE(remote::prune(store, {}));
  });
  EXPECT_LE(idle.total(), 12U);
  const StoreCost removed = cost_of("rm", [](object_store::ObjectStore& store) {
    RemoteRemoveOptions options;
    options.name = "web";
    ASSERT_TRUE(remote::remove_name(store, options));
  });
  EXPECT_LE(removed.total(), 6U);
  EXPECT_LE(removed.rounds, 5U);
  cost_of("prune of one object",
          [](object_store::ObjectStore& store) { ASSERT_TRUE(remote::prune(store, {})); });
}

TEST_F(RemoteCost, BucketThatWasMadeAnewIsNoticed) {
  cost_of_push("first push", base_);
  const LocalSandbox second = diff_of(base_);
  const LocalSandbox third = diff_of(second);
  cost_of_push("push of a diff", second);
  // Emptied, and made anew by another host that has the same name with fewer states.
  fs::remove_all(sandboxes_.bucket_directory());
  const LocalSandbox stranger = sandboxes_.pause(sandboxes_.store("stranger"), nullptr, false);
  {
    const auto bucket = sandboxes_.open_bucket();
    PushOptions options;
    options.snapshot = stranger.path;
    options.name = "web";
    ASSERT_TRUE(remote::push(*bucket, options, nullptr));
  }
  const auto bucket = sandboxes_.open_bucket();
  PushOptions options;
  options.snapshot = third.path;
  options.name = "web";
  const auto pushed = remote::push(*bucket, options, nullptr);
  ASSERT_TRUE(pushed) << pushed.error().message;
  EXPECT_TRUE(pushed->is_conflict);  // the other host's state is not overwritten
  EXPECT_EQ(pushed->number, 1U);
  EXPECT_EQ(pushed->reused_objects, 0U);
  sandboxes_.expect_newest("web", stranger.state);
  sandboxes_.expect_newest(pushed->name, third.state);
  sandboxes_.expect_nothing_left_over();
  // Emptied again, and nothing in it.
  fs::remove_all(sandboxes_.bucket_directory());
  const auto empty = sandboxes_.open_bucket();
  const auto again = remote::push(*empty, options, nullptr);
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_FALSE(again->is_conflict);
  EXPECT_EQ(again->number, 1U);
  sandboxes_.expect_newest("web", third.state);
  sandboxes_.expect_nothing_left_over();
}

}  // namespace
}  // namespace lamina::tests
