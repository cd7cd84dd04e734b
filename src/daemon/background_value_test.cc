#include "daemon/background_value.h"

#include <gtest/gtest.h>

#include <atomic>
#include <latch>

namespace lamina::daemon {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;

/// Longer than any wait in a test that succeeds.
constexpr hours kLong{1};

TEST(BackgroundValueTest, GetReturnsWhileASlowComputationRuns) {
  std::latch release(1);
  std::latch begun(1);
  BackgroundValue<int> value(
      [&] {
        begun.count_down();
        release.wait();
        return 1;
      },
      BackgroundValue<int>::First::kAtOnce);
  begun.wait();
  EXPECT_EQ(value.get(kLong, milliseconds(0)).value, nullptr);
  EXPECT_EQ(value.get(kLong, milliseconds(1)).value, nullptr);
  value.invalidate();
  value.stop();
  EXPECT_FALSE(value.has_ended());
  release.count_down();
}

TEST(BackgroundValueTest, OutdatedValueIsReturnedUntilTheNextIsComputed) {
  std::atomic<int> computations = 0;
  std::latch release(1);
  std::latch second(1);
  BackgroundValue<int> value(
      [&] {
        if (++computations == 2) {
          second.count_down();
          release.wait();
        }
        return computations.load();
      },
      BackgroundValue<int>::First::kOnDemand);
  EXPECT_EQ(*value.get(kLong, kLong).value, 1);
  EXPECT_TRUE(value.get(kLong, milliseconds(0)).is_fresh);
  value.invalidate();
  const auto old = value.get(kLong, milliseconds(0));
  EXPECT_EQ(*old.value, 1);
  EXPECT_FALSE(old.is_fresh);
  second.wait();
  release.count_down();
  const auto fresh = value.get(kLong, kLong);
  EXPECT_EQ(*fresh.value, 2);
  EXPECT_TRUE(fresh.is_fresh);
}

TEST(BackgroundValueTest, MaxAgeOfZeroComputesANewValue) {
  std::atomic<int> computations = 0;
  BackgroundValue<int> value([&] { return ++computations; }, BackgroundValue<int>::First::kAtOnce);
  const int first = *value.get(milliseconds(0), kLong).value;
  EXPECT_GT(*value.get(milliseconds(0), kLong).value, first);
}

TEST(BackgroundValueTest, SetReplacesTheResultOfARunningComputation) {
  std::latch begun(1);
  std::latch release(1);
  BackgroundValue<bool> value(
      [&] {
        begun.count_down();
        release.wait();
        return false;
      },
      BackgroundValue<bool>::First::kAtOnce);
  begun.wait();
  value.set(true);
  release.count_down();
  EXPECT_TRUE(*value.get(kLong, milliseconds(0)).value);
}

}  // namespace
}  // namespace lamina::daemon
