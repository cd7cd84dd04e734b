#include "store/late_request_count.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "scratch_directory.h"
#include "store/open_store.h"
#include "store/resume_count.h"

namespace lamina::store {
namespace {

class LateRequestCounts : public testing::Test {
 protected:
  [[nodiscard]] LateRequests sum() const {
    const auto counts = late_requests_of(directory_);
    EXPECT_TRUE(counts) << counts.error().message;
    return counts.value_or(LateRequests{});
  }

  tests::ScratchDirectory scratch_;
  std::string directory_ = scratch_.path();
};

TEST_F(LateRequestCounts, AreZeroBeforeTheFirst) {
  EXPECT_EQ(sum(), LateRequests{});
  EXPECT_FALSE(std::filesystem::exists(directory_ + "/.counts"));
}

TEST_F(LateRequestCounts, AreTheSumOfAllProcesses) {
  LateRequestCount first(directory_);
  LateRequestCount second(directory_);
  ASSERT_TRUE(first.store({.sent = 2, .won = 1}));
  ASSERT_TRUE(second.store({.sent = 1000, .won = 600, .given_up = 300}));
  EXPECT_EQ(sum(), (LateRequests{.sent = 1002, .won = 601, .given_up = 300}));
  ASSERT_TRUE(first.store({.sent = 3, .won = 1, .given_up = 1}));
  ASSERT_TRUE(first.store({.sent = 3, .won = 1, .given_up = 1}));
  EXPECT_EQ(sum(), (LateRequests{.sent = 1003, .won = 601, .given_up = 301}));
}

TEST_F(LateRequestCounts, AreStoredLaterIfTheyCannotBeNow) {
  LateRequestCount counter(directory_);
  std::ofstream(directory_ + "/.counts") << "a file";
  EXPECT_FALSE(counter.store({.sent = 1}));
  std::filesystem::remove(directory_ + "/.counts");
  ASSERT_TRUE(counter.store({.sent = 2, .won = 1}));
  EXPECT_EQ(sum(), (LateRequests{.sent = 2, .won = 1}));
}

TEST_F(LateRequestCounts, OfACopyBeginAnew) {
  ASSERT_TRUE(LateRequestCount(directory_).store({.sent = 1}));
  const std::string copy = directory_ + "/copy";
  std::filesystem::create_directory(copy);
  std::filesystem::copy(directory_ + "/.counts", copy + "/.counts");
  const auto counts = late_requests_of(copy);
  ASSERT_TRUE(counts) << counts.error().message;
  EXPECT_EQ(*counts, LateRequests{});
}

TEST_F(LateRequestCounts, StayWhenCountsOfPausesAreRemoved) {
  ASSERT_TRUE(LateRequestCount(directory_).store({.sent = 1}));
  std::vector<std::string> notes;
  const auto store = open_store(directory_, notes);
  ASSERT_TRUE(store) << store.error().message;
  ASSERT_TRUE(count_resume(*store, Uuid::random()));
  ASSERT_TRUE(remove_counts(*store, counts_except(*list_counts(*store), {})));
  EXPECT_EQ(sum(), LateRequests{.sent = 1});
}

}  // namespace
}  // namespace lamina::store
