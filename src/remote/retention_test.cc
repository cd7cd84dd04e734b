#include "remote/retention.h"

#include <gtest/gtest.h>

namespace lamina::remote {
namespace {

using std::chrono::days;
using std::chrono::hours;
using std::chrono::sys_seconds;

const sys_seconds kNow = sys_seconds(days(20'000)) + hours(12);

/// States of so many hours ago, the oldest first, numbered from 1.
std::vector<DatedState> states_of(const std::vector<int>& hours_ago) {
  std::vector<DatedState> states;
  for (const int ago : hours_ago) states.push_back({states.size() + 1, kNow - hours(ago)});
  return states;
}

TEST(Retention, WithoutRulesEverythingStays) {
  EXPECT_TRUE(states_to_drop(states_of({500, 300, 1}), {}, kNow).empty());
}

TEST(Retention, NewestStateAlwaysStays) {
  RetentionRules rules;
  rules.keep_last = 0;
  EXPECT_EQ(states_to_drop(states_of({3, 2, 1}), rules, kNow), (std::vector<std::uint64_t>{1, 2}));
}

TEST(Retention, LastStatesStay) {
  RetentionRules rules;
  rules.keep_last = 2;
  EXPECT_EQ(states_to_drop(states_of({3, 2, 1}), rules, kNow), (std::vector<std::uint64_t>{1}));
}

TEST(Retention, NewestOfEachOfTheLastDaysStays) {
  RetentionRules rules;
  rules.keep_daily = 2;
  // Two states today, two yesterday, one on the day before.
  EXPECT_EQ(states_to_drop(states_of({40, 20, 18, 3, 1}), rules, kNow),
            (std::vector<std::uint64_t>{1, 2, 4}));
}

TEST(Retention, RecentStatesStay) {
  RetentionRules rules;
  rules.keep_within = hours(10);
  EXPECT_EQ(states_to_drop(states_of({40, 11, 10, 1}), rules, kNow),
            (std::vector<std::uint64_t>{1, 2}));
}

TEST(Retention, AStateStaysIfAnyRuleKeepsIt) {
  RetentionRules rules;
  rules.keep_last = 1;
  rules.keep_daily = 9;
  EXPECT_EQ(states_to_drop(states_of({60, 33, 30, 1}), rules, kNow),
            (std::vector<std::uint64_t>{2}));
}

TEST(Retention, PatternsAreThoseOfTheShell) {
  EXPECT_TRUE(matches_pattern("web-1", "*"));
  EXPECT_TRUE(matches_pattern("web-1", "web-?"));
  EXPECT_TRUE(matches_pattern("web.a.b", "w*b"));
  EXPECT_TRUE(matches_pattern("aaab", "*aab"));
  EXPECT_TRUE(matches_pattern("", "*"));
  EXPECT_FALSE(matches_pattern("web-12", "web-?"));
  EXPECT_FALSE(matches_pattern("web", "we"));
  EXPECT_FALSE(matches_pattern("web", "*x*"));
}

}  // namespace
}  // namespace lamina::remote
