// Each request of push, pull, prune and remove fails in turn, in each way. The operation ends with
// an error or does its work; the same operation works on a good day; nothing acknowledged is lost;
// a prune leaves exactly what is referenced.
#include <gtest/gtest.h>

#include <functional>

#include "remote/pull.h"
#include "remote/push.h"
#include "remote/remote_check.h"
#include "remote/removal.h"
#include "remote/sandboxes.h"
#include "remote/troubled_store.h"

namespace lamina::tests {
namespace {

/// One request fails, or it and all after it.
struct BadDay {
  Trouble trouble = Trouble::kNone;
  bool for_the_rest = false;
};

std::string name_of_day(const testing::TestParamInfo<BadDay>& info) {
  std::string name(word_of_trouble(info.param.trouble));
  for (char& c : name) c = c == ' ' ? '_' : c;
  return name + (info.param.for_the_rest ? "_from_then_on" : "_once");
}

std::vector<BadDay> all_days() {
  std::vector<BadDay> days;
  for (const Trouble trouble : kAllTroubles) {
    days.push_back({trouble, false});
  }
  days.push_back({Trouble::kUnavailable, true});
  days.push_back({Trouble::kLostAnswer, true});
  return days;
}

class RemoteBadDay : public testing::TestWithParam<BadDay> {
 protected:
  /// Runs `operation` with trouble at request `number`. False: it needed fewer requests.
  bool run_troubled(std::uint64_t number,
                    const std::function<void(object_store::ObjectStore&)>& operation) {
    TroubledStore store(
        sandboxes_.open_bucket(), [&](std::uint64_t now, const object_store::Request&) {
          const bool is_bad = GetParam().for_the_rest ? now >= number : now == number;
          return is_bad ? GetParam().trouble : Trouble::kNone;
        });
    operation(store);
    return store.requests() >= number;
  }

  Result<PushReport> push(object_store::ObjectStore& bucket, const LocalSandbox& snapshot,
                          const std::string& name, bool replace = false) {
    PushOptions options;
    options.snapshot = snapshot.path;
    options.name = name;
    options.replace = replace;
    return remote::push(bucket, options, nullptr);
  }

  void push_well(const LocalSandbox& snapshot, const std::string& name, bool replace = false) {
    const auto bucket = sandboxes_.open_bucket();
    const auto report = push(*bucket, snapshot, name, replace);
    ASSERT_TRUE(report) << report.error().message;
    ASSERT_FALSE(report->is_conflict) << report->name;
  }

  Sandboxes sandboxes_{11};
  std::string store_ = sandboxes_.store("host");
};

TEST_P(RemoteBadDay, PushIsDoneOrCanBeRepeated) {
  LocalSandbox last = sandboxes_.pause(store_, nullptr);
  push_well(last, "web");
  bool is_reached = true;
  for (std::uint64_t number = 1; is_reached && !HasFatalFailure(); ++number) {
    SCOPED_TRACE(number);
    ASSERT_LT(number, 100U);
    const LocalSandbox next = sandboxes_.pause(store_, &last);
    bool is_acknowledged = false;
    is_reached = run_troubled(number, [&](object_store::ObjectStore& bucket) {
      const auto report = push(bucket, next, "web");
      is_acknowledged = report.has_value();
      if (report) {
        EXPECT_FALSE(report->is_conflict);
      }
    });
    if (is_acknowledged) {
      sandboxes_.expect_nothing_left_over();
      sandboxes_.expect_newest("web", next.state);
    }
    push_well(next, "web");
    if (!is_acknowledged) sandboxes_.expect_newest("web", next.state);
    last = next;
  }
  sandboxes_.expect_nothing_left_over();
  sandboxes_.expect_newest("web", last.state);
}

TEST_P(RemoteBadDay, PullGivesRightBytesOrAnError) {
  const LocalSandbox first = sandboxes_.pause(store_, nullptr);
  const LocalSandbox second = sandboxes_.pause(store_, &first);
  push_well(second, "web");
  bool is_reached = true;
  for (std::uint64_t number = 1; is_reached && !HasFatalFailure(); ++number) {
    SCOPED_TRACE(number);
    ASSERT_LT(number, 100U);
    PullOptions options;
    options.name = "web";
    options.store = sandboxes_.store("puller" + std::to_string(number));
    const std::string path = options.store + "/web";
    bool is_done = false;
    is_reached = run_troubled(number, [&](object_store::ObjectStore& bucket) {
      is_done = remote::pull(bucket, options, nullptr).has_value();
    });
    EXPECT_EQ(std::filesystem::exists(path), is_done);
    if (!is_done) {
      const auto bucket = sandboxes_.open_bucket();
      const auto report = remote::pull(*bucket, options, nullptr);
      ASSERT_TRUE(report) << report.error().message;
    }
    sandboxes_.expect_state(path, second.state);
  }
}

TEST_P(RemoteBadDay, PruneRemovesNothingThatIsNeeded) {
  LocalSandbox last = sandboxes_.pause(store_, nullptr);
  push_well(last, "web");
  bool is_reached = true;
  for (std::uint64_t number = 1; is_reached && !HasFatalFailure(); ++number) {
    SCOPED_TRACE(number);
    ASSERT_LT(number, 200U);
    const LocalSandbox next = sandboxes_.pause(store_, &last);
    push_well(next, "web");
    const LocalSandbox other = sandboxes_.pause(store_, nullptr);
    push_well(other, "other", true);
    last = next;
    is_reached = run_troubled(number, [&](object_store::ObjectStore& bucket) {
      PruneOptions options;
      options.keep_last = 1;
      static_cast<void>(remote::prune(bucket, options));
    });
    sandboxes_.expect_newest("web", last.state);
    sandboxes_.expect_newest("other", other.state);
    sandboxes_.expect_nothing_left_over(1);
    sandboxes_.expect_newest("web", last.state);
  }
}

TEST_P(RemoteBadDay, RemovalIsDoneOrCanBeRepeated) {
  const LocalSandbox kept = sandboxes_.pause(store_, nullptr);
  push_well(kept, "kept");
  const LocalSandbox removed = sandboxes_.pause(store_, &kept);
  bool is_reached = true;
  for (std::uint64_t number = 1; is_reached && !HasFatalFailure(); ++number) {
    SCOPED_TRACE(number);
    ASSERT_LT(number, 100U);
    push_well(removed, "web");
    RemoteRemoveOptions options;
    options.name = "web";
    is_reached = run_troubled(number, [&](object_store::ObjectStore& bucket) {
      static_cast<void>(remote::remove_name(bucket, options));
    });
    const auto bucket = sandboxes_.open_bucket();
    const auto repeated = remote::remove_name(*bucket, options);
    if (!repeated) {
      EXPECT_EQ(repeated.error().kind, ErrorKind::kNotFound) << repeated.error().message;
    }
    PullOptions pull;
    pull.name = "web";
    pull.store = sandboxes_.store("reader");
    pull.as = sandboxes_.fresh_name();
    EXPECT_FALSE(remote::pull(*bucket, pull, nullptr));
  }
  sandboxes_.expect_nothing_left_over();
  sandboxes_.expect_newest("kept", kept.state);
}

INSTANTIATE_TEST_SUITE_P(Troubles, RemoteBadDay, testing::ValuesIn(all_days()), name_of_day);

}  // namespace
}  // namespace lamina::tests
