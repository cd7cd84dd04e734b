#include "daemon/background_look.h"

#include <gtest/gtest.h>

#include <atomic>
#include <latch>

namespace lamina::daemon {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;

/// Nothing is waited for so long in a test that succeeds.
constexpr hours kLong{1};

TEST(BackgroundLookTest, ALookThatTakesLongHoldsUpNobody) {
  std::latch release(1);
  std::latch begun(1);
  BackgroundLook<int> look(
      [&] {
        begun.count_down();
        release.wait();
        return 1;
      },
      BackgroundLook<int>::First::kAtOnce);
  begun.wait();
  EXPECT_EQ(look.get(kLong, milliseconds(0)).value, nullptr);
  EXPECT_EQ(look.get(kLong, milliseconds(1)).value, nullptr);
  look.outdate();
  look.stop();
  EXPECT_FALSE(look.has_ended());
  release.count_down();
}

TEST(BackgroundLookTest, WhatIsOutdatedIsShownUntilTheNextLookHasEnded) {
  std::atomic<int> looks = 0;
  std::latch release(1);
  std::latch second(1);
  BackgroundLook<int> look(
      [&] {
        if (++looks == 2) {
          second.count_down();
          release.wait();
        }
        return looks.load();
      },
      BackgroundLook<int>::First::kWhenAsked);
  EXPECT_EQ(*look.get(kLong, kLong).value, 1);
  EXPECT_TRUE(look.get(kLong, milliseconds(0)).is_fresh);
  look.outdate();
  const auto old = look.get(kLong, milliseconds(0));
  EXPECT_EQ(*old.value, 1);
  EXPECT_FALSE(old.is_fresh);
  second.wait();
  release.count_down();
  const auto fresh = look.get(kLong, kLong);
  EXPECT_EQ(*fresh.value, 2);
  EXPECT_TRUE(fresh.is_fresh);
}

TEST(BackgroundLookTest, AskingForAgeZeroLooksAnew) {
  std::atomic<int> looks = 0;
  BackgroundLook<int> look([&] { return ++looks; }, BackgroundLook<int>::First::kAtOnce);
  const int first = *look.get(milliseconds(0), kLong).value;
  EXPECT_GT(*look.get(milliseconds(0), kLong).value, first);
}

TEST(BackgroundLookTest, WhatSomebodyElseSawIsTaken) {
  std::latch begun(1);
  std::latch release(1);
  BackgroundLook<bool> look(
      [&] {
        begun.count_down();
        release.wait();
        return false;
      },
      BackgroundLook<bool>::First::kAtOnce);
  begun.wait();
  look.set(true);
  release.count_down();
  EXPECT_TRUE(*look.get(kLong, milliseconds(0)).value);
}

}  // namespace
}  // namespace lamina::daemon
