#include "daemon/push_queue.h"

#include <gtest/gtest.h>

namespace lamina::daemon {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class PushQueueTest : public testing::Test {
 protected:
  static PushQueue::TimePoint at(std::int64_t ms) {
    return PushQueue::TimePoint() + milliseconds(ms);
  }
  /// The only entry.
  [[nodiscard]] PushQueue::Entry only() const {
    const auto entries = queue_.entries();
    EXPECT_EQ(entries.size(), 1U);
    return entries.empty() ? PushQueue::Entry() : entries.front();
  }

  PushQueue queue_{seconds(300)};
  const Uuid first_ = Uuid::random();
  const Uuid second_ = Uuid::random();
  const Error away_{.kind = ErrorKind::kFailed, .message = "the bucket does not answer"};
};

TEST_F(PushQueueTest, LatestStateOfANameReplacesTheOneThatWaits) {
  queue_.add("web", first_, at(0));
  queue_.add("web", second_, at(5000));
  const auto taken = queue_.take(at(6000));
  ASSERT_TRUE(taken);
  EXPECT_EQ(taken->pause_id, second_);
  EXPECT_EQ(taken->since, at(0));  // the age is that of the older state
  EXPECT_FALSE(queue_.take(at(6000)));
  queue_.done(*taken, second_, at(6000));
  EXPECT_TRUE(queue_.entries().empty());
}

TEST_F(PushQueueTest, StateThatComesDuringAPushIsPushedAfterIt) {
  queue_.add("web", first_, at(0));
  const auto taken = queue_.take(at(0));
  queue_.add("web", second_, at(100));
  EXPECT_FALSE(queue_.take(at(100)));  // never two of one name
  queue_.done(*taken, first_, at(6000));
  const auto next = queue_.take(at(200));
  ASSERT_TRUE(next);
  EXPECT_EQ(next->pause_id, second_);
  EXPECT_EQ(next->since, at(100));
}

TEST_F(PushQueueTest, PushThatFoundTheNewerStateIsEnough) {
  queue_.add("web", first_, at(0));
  const auto taken = queue_.take(at(0));
  queue_.add("web", second_, at(100));
  queue_.done(*taken, second_, at(6000));
  EXPECT_TRUE(queue_.entries().empty());
}

TEST_F(PushQueueTest, OldestIsPushedFirst) {
  queue_.add("b", first_, at(0));
  queue_.add("a", second_, at(1));
  EXPECT_EQ(queue_.take(at(2))->name, "b");
  EXPECT_EQ(queue_.take(at(2))->name, "a");
  EXPECT_EQ(queue_.waiting(), 2U);
}

TEST_F(PushQueueTest, DelayDoublesUpToTheLongest) {
  queue_.add("web", first_, at(0));
  std::int64_t now = 0;
  for (const std::int64_t delay : {1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300}) {
    const auto taken = queue_.take(at(now));
    ASSERT_TRUE(taken);
    queue_.failed(*taken, away_, PushQueue::Retry::kLater, at(now), 0);
    EXPECT_FALSE(queue_.take(at(now + delay * 1000 - 1)));
    now += delay * 1000;
    EXPECT_EQ(queue_.next_time(), at(now));
  }
  EXPECT_EQ(only().attempts, 11U);
  EXPECT_EQ(only().error->message, away_.message);
}

TEST_F(PushQueueTest, HalfOfTheDelayIsRandom) {
  queue_.add("web", first_, at(0));
  queue_.failed(*queue_.take(at(0)), away_, PushQueue::Retry::kLater, at(0), 0.5);
  EXPECT_EQ(queue_.next_time(), at(750));
}

TEST_F(PushQueueTest, NewerStateDoesNotEndTheDelay) {
  queue_.add("web", first_, at(0));
  queue_.failed(*queue_.take(at(0)), away_, PushQueue::Retry::kLater, at(0), 0);
  queue_.add("web", second_, at(10));
  EXPECT_EQ(queue_.next_time(), at(1000));
}

TEST_F(PushQueueTest, HopelessStateWaitsForAnotherOne) {
  queue_.add("web", first_, at(0));
  queue_.failed(*queue_.take(at(0)), away_, PushQueue::Retry::kNever, at(0), 0);
  EXPECT_EQ(only().state, PushState::kFailed);
  EXPECT_FALSE(queue_.next_time());
  EXPECT_EQ(queue_.failed_entries(), 1U);
  queue_.add("web", first_, at(1));
  EXPECT_FALSE(queue_.take(at(1)));
  queue_.add("web", second_, at(2));
  EXPECT_EQ(queue_.take(at(2))->pause_id, second_);
}

TEST_F(PushQueueTest, EntryOfARemovedSnapshotGoes) {
  queue_.add("web", first_, at(0));
  queue_.remove("web");
  EXPECT_TRUE(queue_.entries().empty());
  queue_.add("web", first_, at(0));
  const auto taken = queue_.take(at(0));
  queue_.remove("web");
  EXPECT_EQ(queue_.entries().size(), 1U);
  queue_.failed(*taken, away_, PushQueue::Retry::kLater, at(0), 0);
  EXPECT_TRUE(queue_.entries().empty());
}

TEST_F(PushQueueTest, NameThatWasGivenAgainDuringThePushIsPushed) {
  queue_.add("web", first_, at(0));
  const auto taken = queue_.take(at(0));
  queue_.remove("web");
  queue_.add("web", second_, at(1));
  queue_.done(*taken, first_, at(6000));
  EXPECT_EQ(queue_.take(at(1))->pause_id, second_);
}

TEST_F(PushQueueTest, ListAddsWhatIsMissingAndDropsWhatIsGone) {
  queue_.add("gone", first_, at(0));
  queue_.add("late", first_, at(20));
  queue_.update({{"web", second_, at(30)}}, at(10));
  const auto entries = queue_.entries();
  ASSERT_EQ(entries.size(), 2U);
  EXPECT_EQ(entries[0].name, "late");  // paused after the list was read
  EXPECT_EQ(entries[1].name, "web");
}

TEST_F(PushQueueTest, OldListDoesNotReplaceANewerState) {
  queue_.add("web", second_, at(20));
  queue_.update({{"web", first_, at(0)}}, at(10));
  EXPECT_EQ(only().pause_id, second_);
}

TEST_F(PushQueueTest, ListThatWasReadBeforeAPushEndedDoesNotRepeatIt) {
  queue_.add("web", first_, at(0));
  const auto taken = queue_.take(at(0));
  queue_.done(*taken, first_, at(20));
  queue_.update({{"web", first_, at(0)}}, at(10));
  EXPECT_TRUE(queue_.entries().empty());
  queue_.update({{"web", second_, at(0)}}, at(10));
  EXPECT_EQ(only().pause_id, second_);
}

TEST_F(PushQueueTest, LaterListIsRight) {
  queue_.add("web", first_, at(0));
  const auto taken = queue_.take(at(0));
  queue_.done(*taken, first_, at(20));
  queue_.update({{"web", first_, at(0)}}, at(30));  // its record was lost
  EXPECT_EQ(only().pause_id, first_);
}

TEST_F(PushQueueTest, AgeIsThatOfTheOldest) {
  EXPECT_EQ(queue_.oldest_age(at(5)), seconds(0));
  queue_.add("web", first_, at(1000));
  queue_.add("other", second_, at(2000));
  EXPECT_EQ(queue_.oldest_age(at(5000)), seconds(4));
}

TEST_F(PushQueueTest, WhatAnotherHasPushedGoes) {
  queue_.add("web", first_, at(0));
  queue_.pushed("web", second_, at(1));
  EXPECT_EQ(queue_.entries().size(), 1U);
  queue_.pushed("web", first_, at(1));
  EXPECT_TRUE(queue_.entries().empty());
}

TEST_F(PushQueueTest, FailedEntriesWaitAgainWhenTheCauseIsMended) {
  queue_.add("web", first_, at(0));
  queue_.failed(*queue_.take(at(0)), away_, PushQueue::Retry::kNever, at(0), 0);
  EXPECT_FALSE(queue_.take(at(1'000'000)));
  EXPECT_EQ(queue_.failed_entries(), 1U);
  queue_.retry_failed(at(2'000'000));
  EXPECT_EQ(queue_.failed_entries(), 0U);
  const auto taken = queue_.take(at(2'000'000));
  ASSERT_TRUE(taken);
  EXPECT_EQ(taken->attempts, 0U);
}

}  // namespace
}  // namespace lamina::daemon
