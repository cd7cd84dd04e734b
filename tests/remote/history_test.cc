// Random histories: two hosts pause, merge, fork, push and remove the same names, a third one
// pulls, and a collector runs between. Memory, VM state and attached files are compared byte by
// byte.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "lamina/fork.h"
#include "lamina/merge.h"
#include "remote/pull.h"
#include "remote/push.h"
#include "remote/remote_check.h"
#include "remote/removal.h"
#include "remote/sandboxes.h"

namespace lamina::tests {
namespace {

constexpr int kSteps = 40;

class RemoteHistory : public testing::TestWithParam<int> {
 protected:
  void begin(std::uint64_t seed) {
    sandboxes_ = std::make_unique<Sandboxes>(seed);
    hosts_ = {sandboxes_->store("host-a"), sandboxes_->store("host-b")};
  }

  std::uint64_t random(std::uint64_t below) { return sandboxes_->random()() % below; }
  std::string random_name() { return "sandbox_" + std::to_string(random(3)); }
  LocalSandbox* random_snapshot() {
    return local_.empty() ? nullptr : &local_[random(local_.size())];
  }
  [[nodiscard]] std::string store_of(const LocalSandbox& snapshot) const {
    return std::filesystem::path(snapshot.path).parent_path().string();
  }

  void pause() {
    LocalSandbox* parent = random(4) == 0 ? nullptr : random_snapshot();
    const std::string store = parent != nullptr ? store_of(*parent) : hosts_[random(2)];
    local_.push_back(sandboxes_->pause(store, parent));
  }

  void merge_one() {
    LocalSandbox* snapshot = random_snapshot();
    if (snapshot == nullptr) return;
    MergeOptions options;
    options.snapshot = snapshot->path;
    const auto merged = merge(options);
    ASSERT_TRUE(merged) << merged.error().message;
  }

  void fork_one() {
    LocalSandbox* snapshot = random_snapshot();
    if (snapshot == nullptr) return;
    LocalSandbox made = *snapshot;
    made.path = hosts_[random(2)] + "/" + sandboxes_->fresh_name();
    ForkOptions options;
    options.snapshot = snapshot->path;
    options.fork = made.path;
    const auto forked = fork_snapshot(options);
    ASSERT_TRUE(forked) << forked.error().message;
    local_.push_back(made);
  }

  void push_one() {
    LocalSandbox* snapshot = random_snapshot();
    if (snapshot == nullptr) return;
    const std::string name = random_name();
    const auto bucket = sandboxes_->open_bucket();
    PushOptions options;
    options.snapshot = snapshot->path;
    options.name = name;
    const auto report = remote::push(*bucket, options, nullptr);
    ASSERT_TRUE(report) << report.error().message;
    const auto newest = remote_.find(name);
    if (newest == remote_.end()) {
      EXPECT_FALSE(report->is_conflict);
    } else {
      expect_right_verdict(*report, snapshot->state, newest->second);
    }
    remote_[report->name] = snapshot->state;
  }

  static void expect_right_verdict(const PushReport& report, const SandboxState& pushed,
                                   const SandboxState& newest) {
    const bool is_next = newest.pause_id == pushed.pause_id || newest.pause_id == pushed.parent;
    const bool is_related = is_next || pushed.ancestors.contains(newest.pause_id);
    EXPECT_EQ(report.is_conflict, !is_related);
  }

  void pull_one() {
    if (remote_.empty()) return;
    auto one = remote_.begin();
    std::advance(one, static_cast<std::ptrdiff_t>(random(remote_.size())));
    LocalSandbox made;
    made.state = one->second;
    const std::string store = random(2) == 0 ? sandboxes_->store("host-c") : hosts_[random(2)];
    const std::string local_name = sandboxes_->fresh_name();
    made.path = store + "/" + local_name;
    const auto bucket = sandboxes_->open_bucket();
    PullOptions options;
    options.name = one->first;
    options.store = store;
    options.as = local_name;
    const auto report = remote::pull(*bucket, options, nullptr);
    ASSERT_TRUE(report) << report.error().message;
    sandboxes_->expect_state(made.path, made.state);
    if (random(2) == 0) local_.push_back(made);
  }

  void prune_all() {
    const auto bucket = sandboxes_->open_bucket();
    PruneOptions options;
    if (random(2) == 0) options.keep_last = random(3);
    const auto report = remote::prune(*bucket, options);
    ASSERT_TRUE(report) << report.error().message;
  }

  void remove_one() {
    const std::string name = random_name();
    const auto bucket = sandboxes_->open_bucket();
    RemoteRemoveOptions options;
    options.name = name;
    const auto report = remote::remove_name(*bucket, options);
    EXPECT_EQ(report.has_value(), remote_.erase(name) > 0);
    if (!report) {
      EXPECT_EQ(report.error().kind, ErrorKind::kNotFound);
    }
  }

  void expect_everything() {
    sandboxes_->expect_nothing_left_over();
    const auto bucket = sandboxes_->open_bucket();
    RemoteVerifyOptions options;
    options.data = true;
    const auto verified = remote::verify(*bucket, options, nullptr);
    ASSERT_TRUE(verified) << verified.error().message;
    for (const std::string& problem : verified->problems) ADD_FAILURE() << problem;
    for (const auto& [name, state] : remote_) {
      SCOPED_TRACE(name);
      PullOptions pull;
      pull.name = name;
      pull.store = sandboxes_->store("host-d");
      const auto report = remote::pull(*bucket, pull, nullptr);
      ASSERT_TRUE(report) << report.error().message;
      sandboxes_->expect_state(report->snapshot, state);
    }
  }

  std::unique_ptr<Sandboxes> sandboxes_;
  std::vector<std::string> hosts_;
  std::vector<LocalSandbox> local_;
  std::map<std::string, SandboxState> remote_;  ///< the newest state of each name
};

TEST_P(RemoteHistory, EveryByteIsRight) {
  const char* fixed = std::getenv("LAMINA_SEED");
  const std::uint64_t seed =
      fixed != nullptr ? std::strtoull(fixed, nullptr, 10) : static_cast<std::uint64_t>(GetParam());
  SCOPED_TRACE("LAMINA_SEED=" + std::to_string(seed));
  begin(seed);
  for (int step = 0; step < kSteps && !HasFatalFailure(); ++step) {
    SCOPED_TRACE("step " + std::to_string(step));
    const auto action = random(20);
    if (action < 6) {
      pause();
    } else if (action < 7) {
      merge_one();
    } else if (action < 8) {
      fork_one();
    } else if (action < 14) {
      push_one();
    } else if (action < 17) {
      pull_one();
    } else if (action < 19) {
      prune_all();
    } else {
      remove_one();
    }
  }
  if (!HasFatalFailure()) expect_everything();
}

INSTANTIATE_TEST_SUITE_P(Seeds, RemoteHistory, testing::Range(1, 9));

}  // namespace
}  // namespace lamina::tests
