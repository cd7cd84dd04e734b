#include "operations/rate_limit.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace lamina::operations {
namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;

/// A clock that advances only when a caller sleeps, or when the test sets it.
struct FakeTime {
  std::uint64_t now = 5 * kSecond;
  std::vector<std::uint64_t> slept;

  RateClock clock() {
    return {[this] { return now; },
            [this](std::uint64_t deadline) {
              slept.push_back(deadline - now);
              now = deadline;
            }};
  }
};

struct Recorder : Progress {
  std::uint64_t bytes = 0;
  std::uint64_t total = 0;
  int questions = 0;
  int stop_at = -1;  ///< the call of interrupted() that returns true

  void begin(std::string_view, std::uint64_t total_bytes) override { total = total_bytes; }
  void advance(std::uint64_t more) override { bytes += more; }
  bool interrupted() override { return ++questions == stop_at; }
};

TEST(RateLimit, StepsAreDelayedToTheRate) {
  FakeTime time;
  RateLimitedProgress progress(nullptr, 1000, time.clock());
  progress.begin("merging", 4000);
  progress.advance(500);
  EXPECT_EQ(time.now, 5 * kSecond + kSecond / 2);
  progress.advance(3500);
  EXPECT_EQ(time.now, 9 * kSecond);
  EXPECT_LE(*std::max_element(time.slept.begin(), time.slept.end()), kSecond / 10);
}

TEST(RateLimit, SlowWorkIsNotDelayedAndNotCaughtUp) {
  FakeTime time;
  RateLimitedProgress progress(nullptr, 1000, time.clock());
  progress.begin("merging", 3000);
  time.now += 60 * kSecond;
  progress.advance(1000);
  EXPECT_EQ(time.now, 66 * kSecond);
  progress.advance(1000);
  EXPECT_EQ(time.now, 67 * kSecond);
}

TEST(RateLimit, CallsArePassedOn) {
  FakeTime time;
  Recorder recorder;
  RateLimitedProgress progress(&recorder, 1000, time.clock());
  progress.begin("merging", 77);
  progress.advance(10);
  progress.advance(20);
  EXPECT_EQ(recorder.total, 77);
  EXPECT_EQ(recorder.bytes, 30);
  recorder.stop_at = recorder.questions + 1;
  EXPECT_TRUE(progress.interrupted());
}

TEST(RateLimit, InterruptionEndsTheWait) {
  FakeTime time;
  Recorder recorder;
  recorder.stop_at = 4;
  RateLimitedProgress progress(&recorder, 1, time.clock());
  progress.begin("merging", 1000);
  progress.advance(1000);
  EXPECT_EQ(time.slept.size(), 3);
}

}  // namespace
}  // namespace lamina::operations
