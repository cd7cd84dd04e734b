// Tenants' keys in a bucket: listing, rotation, destruction.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "packed/keys.h"
#include "remote/contents.h"
#include "remote/key_destruction.h"
#include "remote/key_use.h"
#include "remote/names.h"
#include "remote/pull.h"
#include "remote/push.h"
#include "remote/remote_check.h"
#include "remote/removal.h"
#include "remote/rotation.h"
#include "remote/sandboxes.h"
#include "remote/troubled_store.h"

namespace lamina::tests {
namespace {

namespace fs = std::filesystem;

using object_store::Operation;
using object_store::Request;

class RemoteKeys : public testing::Test {
 protected:
  std::unique_ptr<packed::KeyWrapper> make_key(const std::string& name, char digit) {
    const fs::path path = sandboxes_.root() / name;
    std::ofstream(path) << std::string(64, digit);
    fs::permissions(path, fs::perms::owner_read | fs::perms::owner_write);
    auto key = packed::read_key_file(path.string());
    EXPECT_TRUE(key) << key.error().message;
    return std::move(*key);
  }

  Result<PushReport> push_to(object_store::ObjectStore& bucket, const std::string& snapshot,
                             const std::string& name, packed::KeyWrapper* key) {
    PushOptions options;
    options.snapshot = snapshot;
    options.name = name;
    return remote::push(bucket, options, key);
  }
  Result<PushReport> push(const std::string& snapshot, const std::string& name,
                          packed::KeyWrapper* key) {
    const auto bucket = sandboxes_.open_bucket();
    return push_to(*bucket, snapshot, name, key);
  }

  Result<PullReport> pull(const std::string& name, packed::KeyWrapper* key) {
    const auto bucket = sandboxes_.open_bucket();
    PullOptions options;
    options.name = name;
    options.store = sandboxes_.store("reader");
    options.as = sandboxes_.fresh_name();
    return remote::pull(*bucket, options, key);
  }

  void expect_newest(const std::string& name, const SandboxState& expected,
                     packed::KeyWrapper* key) {
    const auto pulled = pull(name, key);
    ASSERT_TRUE(pulled) << pulled.error().message;
    sandboxes_.expect_state(pulled->snapshot, expected);
  }

  Result<RotateKeyReport> rotate(object_store::ObjectStore& bucket,
                                 const RotateKeyOptions& options = {}) {
    return remote::rotate_key(bucket, options, *old_, *new_);
  }

  RemoteKeysReport list() {
    const auto bucket = sandboxes_.open_bucket();
    auto report = remote::list_keys(*bucket, {}, new_.get());
    EXPECT_TRUE(report) << report.error().message;
    EXPECT_TRUE(report->problems.empty());
    return std::move(*report);
  }

  /// How many states have a key.
  std::size_t states_of(const packed::KeyWrapper& key) {
    for (const RemoteKeyUse& use : list().keys) {
      if (use.key_id == key.key_id()) return use.states.size();
    }
    return 0;
  }

  /// True if a file of the bucket contains the key's id.
  [[nodiscard]] bool bucket_mentions(const packed::KeyWrapper& key) const {
    for (const auto& entry : fs::recursive_directory_iterator(sandboxes_.bucket_directory())) {
      if (!entry.is_regular_file()) continue;
      std::ifstream file(entry.path(), std::ios::binary);
      const std::string bytes{std::istreambuf_iterator<char>(file), {}};
      if (bytes.find(key.key_id()) != std::string::npos) return true;
    }
    return false;
  }

  Sandboxes sandboxes_{11};
  std::string here_ = sandboxes_.store("here");
  std::unique_ptr<packed::KeyWrapper> old_ = make_key("old", 'a');
  std::unique_ptr<packed::KeyWrapper> new_ = make_key("new", 'b');
};

TEST_F(RemoteKeys, ListNamesTheKeyOfEachState) {
  const LocalSandbox first = sandboxes_.pause(here_, nullptr, false);
  const LocalSandbox second = sandboxes_.pause(here_, &first, false);
  ASSERT_TRUE(push(first.path, "web", old_.get()));
  ASSERT_TRUE(push(second.path, "web", old_.get()));
  ASSERT_TRUE(push(first.path, "db", new_.get()));
  ASSERT_TRUE(push(first.path, "plain", nullptr));
  const RemoteKeysReport report = list();
  ASSERT_EQ(report.keys.size(), 3U);
  const RemoteKeyUse& plain = report.keys[0];
  EXPECT_EQ(plain.key_id, "");
  EXPECT_EQ(plain.states.size(), 1U);
  const auto find = [&](const packed::KeyWrapper& key) {
    return std::ranges::find(report.keys, key.key_id(), &RemoteKeyUse::key_id);
  };
  const auto of_old = find(*old_);
  ASSERT_NE(of_old, report.keys.end());
  EXPECT_FALSE(of_old->is_given);
  EXPECT_EQ(of_old->newest_states, 1U);
  ASSERT_EQ(of_old->states.size(), 2U);
  EXPECT_EQ(of_old->states[0].name, "web");
  EXPECT_FALSE(of_old->states[0].is_newest);
  EXPECT_TRUE(of_old->states[1].is_newest);
  EXPECT_LT(of_old->objects, of_old->states[0].objects + of_old->states[1].objects);
  const auto of_new = find(*new_);
  ASSERT_NE(of_new, report.keys.end());
  EXPECT_TRUE(of_new->is_given);
  EXPECT_EQ(of_new->object_bytes, of_new->states[0].stored_bytes);
}

TEST_F(RemoteKeys, RotationSendsNoDataAndLeavesNothingOfTheOldKey) {
  const LocalSandbox first = sandboxes_.pause(here_, nullptr);
  const LocalSandbox second = sandboxes_.pause(here_, &first);
  ASSERT_TRUE(push(first.path, "web", old_.get()));
  ASSERT_TRUE(push(second.path, "web", old_.get()));
  ASSERT_TRUE(push(first.path, "db", old_.get()));
  std::uint64_t sent_objects = 0;
  TroubledStore bucket(sandboxes_.open_bucket(), [&](std::uint64_t, const Request& request) {
    const bool is_object = remote::parse_object_key(request.key).has_value();
    if (is_object && object_store::is_write(request.operation)) ++sent_objects;
    EXPECT_FALSE(is_object && request.operation == Operation::kGet);
    return Trouble::kNone;
  });
  RotateKeyOptions dry;
  dry.dry_run = true;
  const auto foretold = rotate(bucket, dry);
  ASSERT_TRUE(foretold) << foretold.error().message;
  EXPECT_EQ(states_of(*old_), 3U);
  const auto report = rotate(bucket);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_TRUE(report->is_complete());
  EXPECT_EQ(report->rotated_states, 2U);
  EXPECT_EQ(report->removed_states, 1U);
  EXPECT_GT(report->rotated_bytes, 0U);
  EXPECT_EQ(foretold->rotated_states, report->rotated_states);
  EXPECT_EQ(foretold->removed_states, report->removed_states);
  EXPECT_EQ(foretold->rotated_bytes, report->rotated_bytes);
  EXPECT_EQ(sent_objects, 0U);
  EXPECT_FALSE(bucket_mentions(*old_));
  EXPECT_TRUE(bucket_mentions(*new_));
  const auto refused = pull("web", old_.get());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kPermission);
  expect_newest("web", second.state, new_.get());
  expect_newest("db", first.state, new_.get());
  sandboxes_.expect_nothing_left_over();
  expect_newest("web", second.state, new_.get());
  const auto again = rotate(bucket);
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(again->rotated_states, 0U);
  EXPECT_EQ(again->other_names, 2U);
}

TEST_F(RemoteKeys, NextDiffFollowsARotatedStateAndReusesItsObjects) {
  const LocalSandbox first = sandboxes_.pause(here_, nullptr, false);
  ASSERT_TRUE(push(first.path, "web", old_.get()));
  const auto bucket = sandboxes_.open_bucket();
  ASSERT_TRUE(rotate(*bucket));
  const auto same = push(first.path, "web", new_.get());
  ASSERT_TRUE(same) << same.error().message;
  EXPECT_TRUE(same->is_already_there);
  const LocalSandbox second = sandboxes_.pause(here_, &first, false);
  const auto pushed = push(second.path, "web", new_.get());
  ASSERT_TRUE(pushed) << pushed.error().message;
  EXPECT_FALSE(pushed->is_conflict);
  EXPECT_EQ(pushed->number, 3U);
  EXPECT_GE(pushed->reused_objects, 1U);
  expect_newest("web", second.state, new_.get());
}

TEST_F(RemoteKeys, OlderStatesCanBeKept) {
  const LocalSandbox first = sandboxes_.pause(here_, nullptr, false);
  const LocalSandbox second = sandboxes_.pause(here_, &first, false);
  ASSERT_TRUE(push(first.path, "web", old_.get()));
  ASSERT_TRUE(push(second.path, "web", old_.get()));
  const auto bucket = sandboxes_.open_bucket();
  RotateKeyOptions options;
  options.keep_older = true;
  const auto report = rotate(*bucket, options);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->kept_states, 1U);
  EXPECT_FALSE(report->is_complete());
  EXPECT_EQ(states_of(*old_), 1U);
  EXPECT_EQ(states_of(*new_), 1U);
}

TEST_F(RemoteKeys, RotationOfAPatternLeavesOtherNames) {
  const LocalSandbox first = sandboxes_.pause(here_, nullptr, false);
  for (const char* name : {"a1", "a2", "b1"}) ASSERT_TRUE(push(first.path, name, old_.get()));
  const auto bucket = sandboxes_.open_bucket();
  RotateKeyOptions options;
  options.pattern = "a*";
  const auto report = rotate(*bucket, options);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->rotated_states, 2U);
  EXPECT_EQ(states_of(*old_), 1U);
}

TEST_F(RemoteKeys, RotationThatIsKilledAnywhereCanBeRepeated) {
  const LocalSandbox first = sandboxes_.pause(here_, nullptr, false);
  const LocalSandbox second = sandboxes_.pause(here_, &first, false);
  ASSERT_TRUE(push(first.path, "web", old_.get()));
  ASSERT_TRUE(push(second.path, "web", old_.get()));
  std::uint64_t number = 1;
  for (bool was_killed = true; was_killed; ++number) {
    SCOPED_TRACE(number);
    ASSERT_LT(number, 60U);
    const pid_t child = ::fork();
    if (child == 0) {
      TroubledStore bucket(sandboxes_.open_bucket(), [number](std::uint64_t now, const Request&) {
        return now == number ? Trouble::kKill : Trouble::kNone;
      });
      const auto report = rotate(bucket);
      ::_exit(report && report->is_complete() ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    was_killed = WIFSIGNALED(status);
    // One of the keys opens the newest state, whenever it was killed.
    EXPECT_TRUE(pull("web", new_.get()) || pull("web", old_.get()));
    const auto bucket = sandboxes_.open_bucket();
    const auto report = rotate(*bucket);
    ASSERT_TRUE(report) << report.error().message;
    EXPECT_TRUE(report->is_complete());
    EXPECT_FALSE(bucket_mentions(*old_));
    // And back, for the next turn.
    ASSERT_TRUE(remote::rotate_key(*bucket, {}, *new_, *old_));
  }
  EXPECT_GT(number, 10U);
  sandboxes_.expect_nothing_left_over();
  expect_newest("web", second.state, old_.get());
}

TEST_F(RemoteKeys, RotationBesideAPushIsNoConflict) {
  const LocalSandbox first = sandboxes_.pause(here_, nullptr, false);
  ASSERT_TRUE(push(first.path, "web", old_.get()));
  LocalSandbox last = first;
  std::uint64_t number = 1;
  for (bool was_reached = true; was_reached; ++number) {
    SCOPED_TRACE(number);
    ASSERT_LT(number, 100U);
    was_reached = false;
    const LocalSandbox next = sandboxes_.pause(here_, &last, false);
    TroubledStore pushing(sandboxes_.open_bucket(), [&](std::uint64_t now, const Request&) {
      if (now != number) return Trouble::kNone;
      was_reached = true;
      const auto other = sandboxes_.open_bucket();
      const auto report = rotate(*other);
      EXPECT_TRUE(report && report->is_complete());
      return Trouble::kNone;
    });
    const auto pushed = push_to(pushing, next.path, "web", old_.get());
    ASSERT_TRUE(pushed) << pushed.error().message;
    EXPECT_FALSE(pushed->is_conflict);
    EXPECT_EQ(pushed->name, "web");
    const auto bucket = sandboxes_.open_bucket();
    ASSERT_TRUE(rotate(*bucket));
    expect_newest("web", next.state, new_.get());
    // And back, for the next turn.
    ASSERT_TRUE(remote::rotate_key(*bucket, {}, *new_, *old_));
    sandboxes_.expect_nothing_left_over();
    last = next;
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(number, 8U);
}

TEST_F(RemoteKeys, PushBesideARotationIsKept) {
  LocalSandbox last = sandboxes_.pause(here_, nullptr, false);
  ASSERT_TRUE(push(last.path, "web", old_.get()));
  std::uint64_t number = 1;
  for (bool was_reached = true; was_reached; ++number) {
    SCOPED_TRACE(number);
    ASSERT_LT(number, 100U);
    was_reached = false;
    const LocalSandbox next = sandboxes_.pause(here_, &last, false);
    TroubledStore rotating(sandboxes_.open_bucket(), [&](std::uint64_t now, const Request&) {
      if (now != number) return Trouble::kNone;
      was_reached = true;
      const auto pushed = push(next.path, "web", old_.get());
      EXPECT_TRUE(pushed && !pushed->is_conflict);
      return Trouble::kNone;
    });
    const auto report = rotate(rotating);
    ASSERT_TRUE(report) << report.error().message;
    const auto bucket = sandboxes_.open_bucket();
    ASSERT_TRUE(rotate(*bucket));
    expect_newest("web", was_reached ? next.state : last.state, new_.get());
    ASSERT_TRUE(remote::rotate_key(*bucket, {}, *new_, *old_));
    if (was_reached) last = next;
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(number, 8U);
}

TEST_F(RemoteKeys, PruneBesideARotationKeepsItsObjects) {
  LocalSandbox last = sandboxes_.pause(here_, nullptr, false);
  ASSERT_TRUE(push(last.path, "web", old_.get()));
  for (int round = 0; round < 2; ++round) {
    // A whole cycle, to which all pins are expired, before each request.
    TroubledStore rotating(sandboxes_.open_bucket(), [&](std::uint64_t, const Request&) {
      const auto other = sandboxes_.open_bucket();
      PruneOptions options;
      options.keep_last = 1;
      remote::CollectSettings settings;
      if (round == 1) settings.pin_lifetime = std::chrono::seconds(-1);
      EXPECT_TRUE(remote::prune(*other, options, settings));
      return Trouble::kNone;
    });
    const auto report = rotate(rotating);
    ASSERT_TRUE(report) << report.error().message;
    if (round == 0) {
      EXPECT_TRUE(report->is_complete());
      const auto bucket = sandboxes_.open_bucket();
      ASSERT_TRUE(remote::rotate_key(*bucket, {}, *new_, *old_));
    } else {
      // A void is at each number that it tries.
      ASSERT_EQ(report->problems.size(), 1U);
      expect_newest("web", last.state, old_.get());
    }
  }
}

TEST_F(RemoteKeys, ObjectWithATombstoneIsNotRotatedAndSaysSo) {
  const LocalSandbox first = sandboxes_.pause(here_, nullptr, false);
  ASSERT_TRUE(push(first.path, "web", old_.get()));
  const auto bucket = sandboxes_.open_bucket();
  object_store::BlockingStore store(*bucket);
  std::uint64_t other_keys = 0;
  const auto objects = remote::list_objects(store, other_keys);
  ASSERT_TRUE(objects);
  const std::string tombstone = remote::tombstone_key(objects->begin()->first, Uuid::random());
  ASSERT_TRUE(store.put(tombstone, std::as_bytes(std::span("t\n", 2))).ok());
  const auto report = rotate(*bucket);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_FALSE(report->is_complete());
  ASSERT_EQ(report->problems.size(), 1U);
  EXPECT_NE(report->problems.front().find(objects->begin()->first), std::string::npos);
  expect_newest("web", first.state, old_.get());
  ASSERT_TRUE(store.remove(tombstone).ok());
  const auto again = rotate(*bucket);
  ASSERT_TRUE(again && again->is_complete());
}

TEST_F(RemoteKeys, KeyOfACommandIsRotatedToAFileAndToAnotherCommand) {
  // Reversible, and each opens only its own.
  const auto command = [](const std::string& mark) {
    return packed::make_key_command("if [ $LAMINA_KEY_OPERATION = wrap ]; then printf " + mark +
                                    "; cat; else [ \"$(dd bs=1 count=1 2>/dev/null)\" = " + mark +
                                    " ] && cat; fi");
  };
  const auto one = command("1");
  const auto two = command("2");
  const LocalSandbox first = sandboxes_.pause(here_, nullptr, false);
  ASSERT_TRUE(push(first.path, "web", one.get()));
  EXPECT_EQ(list().keys.front().key_id, "command");
  const auto bucket = sandboxes_.open_bucket();
  const auto exchanged = remote::rotate_key(*bucket, {}, *one, *two);
  ASSERT_TRUE(exchanged) << exchanged.error().message;
  EXPECT_EQ(exchanged->rotated_states, 1U);
  EXPECT_TRUE(exchanged->is_complete());
  const auto again = remote::rotate_key(*bucket, {}, *one, *two);
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(again->rotated_states, 0U);
  EXPECT_TRUE(again->is_complete());
  EXPECT_FALSE(pull("web", one.get()));
  expect_newest("web", first.state, two.get());
  const auto wrong = remote::rotate_key(*bucket, {}, *one, *new_);
  ASSERT_TRUE(wrong) << wrong.error().message;
  EXPECT_EQ(wrong->problems.size(), 1U);
  const auto to_file = remote::rotate_key(*bucket, {}, *two, *new_);
  ASSERT_TRUE(to_file) << to_file.error().message;
  EXPECT_EQ(to_file->rotated_states, 1U);
  expect_newest("web", first.state, new_.get());
}

TEST_F(RemoteKeys, RotationToTheSameKeyIsRefused) {
  const auto bucket = sandboxes_.open_bucket();
  const auto report = remote::rotate_key(*bucket, {}, *old_, *old_);
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().kind, ErrorKind::kUsage);
}

TEST_F(RemoteKeys, DestructionLeavesNoKeyAndOtherKeysAlone) {
  const LocalSandbox first = sandboxes_.pause(here_, nullptr, false);
  const LocalSandbox second = sandboxes_.pause(here_, &first, false);
  ASSERT_TRUE(push(first.path, "web", old_.get()));
  ASSERT_TRUE(push(second.path, "web", old_.get()));
  ASSERT_TRUE(push(first.path, "kept", new_.get()));
  ASSERT_TRUE(push(first.path, "moved", old_.get()));
  ASSERT_TRUE(push(second.path, "moved", new_.get()));  // its older state has the old key
  const auto bucket = sandboxes_.open_bucket();
  DestroyKeyOptions options;
  options.key_id = old_->key_id();
  options.dry_run = true;
  const auto foretold = remote::destroy_key(*bucket, options);
  ASSERT_TRUE(foretold) << foretold.error().message;
  EXPECT_EQ(foretold->lost_names, std::vector<std::string>{"web"});
  EXPECT_EQ(states_of(*old_), 3U);
  options.dry_run = false;
  const auto report = remote::destroy_key(*bucket, options);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->lost_names, foretold->lost_names);
  EXPECT_EQ(report->removed_states, 3U);
  EXPECT_EQ(report->removed_states, foretold->removed_states);
  EXPECT_EQ(report->lost_objects, foretold->lost_objects);
  EXPECT_GT(report->lost_bytes, 0U);
  EXPECT_FALSE(bucket_mentions(*old_));
  EXPECT_FALSE(pull("web", old_.get()));
  expect_newest("kept", first.state, new_.get());
  expect_newest("moved", second.state, new_.get());
  const auto pruned = remote::prune(*bucket, {});
  ASSERT_TRUE(pruned) << pruned.error().message;
  EXPECT_EQ(pruned->removed_objects, report->lost_objects);
  EXPECT_EQ(pruned->removed_bytes, report->lost_bytes);
  const auto again = remote::destroy_key(*bucket, options);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().kind, ErrorKind::kNotFound);
}

TEST_F(RemoteKeys, DestructionDoesNotLoseWhatWasRotatedMeanwhile) {
  const LocalSandbox first = sandboxes_.pause(here_, nullptr, false);
  bool was_reached = true;
  for (std::uint64_t number = 1; was_reached; ++number) {
    SCOPED_TRACE(number);
    ASSERT_LT(number, 100U);
    const std::string name = "s" + std::to_string(number);
    fs::remove_all(sandboxes_.bucket_directory());
    ASSERT_TRUE(push(first.path, name, old_.get()));
    was_reached = false;
    bool is_rotated = false;
    TroubledStore destroying(sandboxes_.open_bucket(), [&](std::uint64_t now, const Request&) {
      if (now != number) return Trouble::kNone;
      was_reached = true;
      const auto other = sandboxes_.open_bucket();
      const auto report = rotate(*other);
      is_rotated = report && report->rotated_states > 0;
      return Trouble::kNone;
    });
    DestroyKeyOptions options;
    options.key_id = old_->key_id();
    const auto report = remote::destroy_key(destroying, options);
    EXPECT_TRUE(report || report.error().kind == ErrorKind::kNotFound);
    EXPECT_FALSE(bucket_mentions(*old_));
    if (is_rotated) expect_newest(name, first.state, new_.get());
  }
}

TEST_F(RemoteKeys, DestructionStopsAtARecordThatCannotBeRead) {
  const LocalSandbox first = sandboxes_.pause(here_, nullptr, false);
  ASSERT_TRUE(push(first.path, "web", old_.get()));
  ASSERT_TRUE(push(first.path, "other", old_.get()));
  const fs::path record = fs::path(sandboxes_.bucket_directory()) / remote::record_key({"web", 1});
  fs::resize_file(record, 100);
  const auto bucket = sandboxes_.open_bucket();
  DestroyKeyOptions options;
  options.key_id = old_->key_id();
  const auto report = remote::destroy_key(*bucket, options);
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().kind, ErrorKind::kCorrupt);
  expect_newest("other", first.state, old_.get());
}

}  // namespace
}  // namespace lamina::tests
