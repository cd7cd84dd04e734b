// The client is killed before each of its requests: the same command works then, nothing that was
// acknowledged is lost, and a prune leaves exactly what is referenced.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>

#include "remote/pull.h"
#include "remote/push.h"
#include "remote/remote_check.h"
#include "remote/sandboxes.h"
#include "remote/troubled_store.h"

namespace lamina::tests {
namespace {

class KilledClient : public testing::Test {
 protected:
  using Operation = std::function<bool(object_store::ObjectStore&)>;

  /// Runs `operation` in a child that is killed before its request `number`. False: it came to its
  /// end before that, with success.
  bool run_killed(std::uint64_t number, const Operation& operation) {
    const pid_t child = ::fork();
    if (child == 0) {
      TroubledStore store(sandboxes_.open_bucket(),
                          [number](std::uint64_t now, const object_store::Request&) {
                            return now == number ? Trouble::kKill : Trouble::kNone;
                          });
      const bool done = operation(store);
      ::_exit(done ? 0 : 1);
    }
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    const bool was_killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    if (!was_killed) {
      EXPECT_EQ(WIFEXITED(status) ? WEXITSTATUS(status) : -1, 0);
    }
    return was_killed;
  }

  Result<PushReport> push(const std::string& snapshot, const std::string& name,
                          bool replace = false) {
    const auto bucket = sandboxes_.open_bucket();
    PushOptions options;
    options.snapshot = snapshot;
    options.name = name;
    options.replace = replace;
    return remote::push(*bucket, options, nullptr);
  }

  Sandboxes sandboxes_{7};
  std::string store_ = sandboxes_.store("host");
};

TEST_F(KilledClient, PushCanBeRepeated) {
  LocalSandbox last = sandboxes_.pause(store_, nullptr);
  ASSERT_TRUE(push(last.path, "web"));
  std::uint64_t number = 1;
  for (bool was_killed = true; was_killed; ++number) {
    SCOPED_TRACE(number);
    ASSERT_LT(number, 100U);
    const LocalSandbox next = sandboxes_.pause(store_, &last);
    was_killed = run_killed(number, [&](object_store::ObjectStore& bucket) {
      PushOptions options;
      options.snapshot = next.path;
      options.name = "web";
      return remote::push(bucket, options, nullptr).has_value();
    });
    const auto report = push(next.path, "web");
    ASSERT_TRUE(report) << report.error().message;
    EXPECT_FALSE(report->is_conflict);
    EXPECT_EQ(report->name, "web");
    sandboxes_.expect_newest("web", next.state);
    last = next;
  }
  EXPECT_GT(number, 8U);
  sandboxes_.expect_nothing_left_over();
  sandboxes_.expect_newest("web", last.state);
}

TEST_F(KilledClient, PullCanBeRepeated) {
  const LocalSandbox first = sandboxes_.pause(store_, nullptr);
  const LocalSandbox second = sandboxes_.pause(store_, &first);
  ASSERT_TRUE(push(second.path, "web"));
  std::uint64_t number = 1;
  for (bool was_killed = true; was_killed; ++number) {
    SCOPED_TRACE(number);
    ASSERT_LT(number, 100U);
    PullOptions options;
    options.name = "web";
    options.store = sandboxes_.store("reader" + std::to_string(number));
    was_killed = run_killed(number, [&](object_store::ObjectStore& bucket) {
      return remote::pull(bucket, options, nullptr).has_value();
    });
    const std::string path = options.store + "/web";
    if (was_killed) {
      EXPECT_FALSE(std::filesystem::exists(path));
      const auto bucket = sandboxes_.open_bucket();
      const auto report = remote::pull(*bucket, options, nullptr);
      ASSERT_TRUE(report) << report.error().message;
    }
    sandboxes_.expect_state(path, second.state);
  }
  EXPECT_GT(number, 3U);
}

TEST_F(KilledClient, PruneCanBeRepeated) {
  LocalSandbox last = sandboxes_.pause(store_, nullptr);
  ASSERT_TRUE(push(last.path, "web"));
  std::uint64_t number = 1;
  for (bool was_killed = true; was_killed; ++number) {
    SCOPED_TRACE(number);
    ASSERT_LT(number, 200U);
    // Something to prune: a state that is not kept, and a push that was killed before its manifest.
    const LocalSandbox other = sandboxes_.pause(store_, nullptr);
    run_killed(9, [&](object_store::ObjectStore& bucket) {
      PushOptions options;
      options.snapshot = other.path;
      options.name = "other";
      options.replace = true;
      return remote::push(bucket, options, nullptr).has_value();
    });
    const LocalSandbox next = sandboxes_.pause(store_, nullptr);
    ASSERT_TRUE(push(next.path, "web", true));
    last = next;
    was_killed = run_killed(number, [](object_store::ObjectStore& bucket) {
      PruneOptions options;
      options.keep_last = 1;
      remote::CollectSettings settings;
      settings.pin_lifetime = std::chrono::seconds(-1);
      return remote::prune(bucket, options, settings).has_value();
    });
    // So that the next prune has no more to do than this one.
    sandboxes_.expect_nothing_left_over(1);
    sandboxes_.expect_newest("web", last.state);
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(number, 15U);
}

}  // namespace
}  // namespace lamina::tests
