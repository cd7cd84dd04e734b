#include "server/log_limiter.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <vector>

namespace lamina::server {
namespace {

class LogLimiterTest : public testing::Test {
 protected:
  std::vector<std::string> lines;
  LogLimiter limiter{[this](const std::string& line) { lines.push_back(line); }};
  LogLimiter::Clock::time_point now = LogLimiter::Clock::now();
};

TEST_F(LogLimiterTest, FirstSimilarLinesAreWrittenTheRestAreCounted) {
  for (int pid = 1; pid <= 1000; ++pid) limiter.say(fmt::format("process {} is refused", pid), now);
  EXPECT_EQ(lines.size(), LogLimiter::kAtOnce);
  EXPECT_EQ(lines.back(), "process 10 is refused");
  now += LogLimiter::kPeriod;
  limiter.write_counts(now);
  ASSERT_EQ(lines.size(), LogLimiter::kAtOnce + 1);
  EXPECT_EQ(lines.back(), "process 1000 is refused (989 more like this in the last 60 s)");
}

TEST_F(LogLimiterTest, FloodWritesOneLinePerPeriod) {
  constexpr int kPeriods = 100;
  for (int period = 0; period < kPeriods; ++period) {
    for (int i = 0; i < 100; ++i) limiter.say("again", now);
    now += LogLimiter::kPeriod;
  }
  EXPECT_LE(lines.size(), LogLimiter::kAtOnce + kPeriods);
}

TEST_F(LogLimiterTest, OtherLinesAreNotLimitedByAFlood) {
  for (int i = 0; i < 1000; ++i) limiter.say("a crowd", now);
  limiter.say("VM 7 was killed", now);
  EXPECT_EQ(lines.back(), "VM 7 was killed");
}

TEST_F(LogLimiterTest, LinesThatDifferInQuotedTextAreSimilar) {
  for (int i = 0; i < 1000; ++i) {
    limiter.say(fmt::format("'{}' is refused", std::string(1, static_cast<char>('a' + i % 26))),
                now);
  }
  EXPECT_EQ(lines.size(), LogLimiter::kAtOnce);
}

TEST_F(LogLimiterTest, ManyKindsOfLinesShareALimit) {
  for (int i = 0; i < 26 * 26 * 26; ++i) {
    std::string word;
    for (int rest = i, letter = 0; letter < 3; ++letter, rest /= 26) {
      word += static_cast<char>('a' + rest % 26);
    }
    limiter.say(word, now);
  }
  EXPECT_LE(lines.size(), LogLimiter::kMaxKinds + LogLimiter::kAtOnce);
}

TEST_F(LogLimiterTest, KindIsNewAgainAfterSilence) {
  for (int i = 0; i < 100; ++i) limiter.say("again", now);
  now += LogLimiter::kPeriod;
  limiter.write_counts(now);
  now += LogLimiter::kPeriod;
  limiter.write_counts(now);
  const std::size_t before = lines.size();
  for (std::uint64_t i = 0; i < LogLimiter::kAtOnce; ++i) limiter.say("again", now);
  EXPECT_EQ(lines.size(), before + LogLimiter::kAtOnce);
}

TEST_F(LogLimiterTest, IsDueOnlyWhileLinesWereCounted) {
  limiter.say("once", now);
  EXPECT_EQ(limiter.due_ms(now), -1);
  for (int i = 0; i < 100; ++i) limiter.say("once", now);
  EXPECT_GT(limiter.due_ms(now), 0);
  limiter.forget();
  EXPECT_EQ(limiter.due_ms(now), -1);
}

}  // namespace
}  // namespace lamina::server
