#include "remote/hedging.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

namespace lamina::remote {
namespace {

using std::chrono::milliseconds;

TEST(Hedging, FewAnswersDoNotChangeTheLimit) {
  Hedging hedging;
  for (int i = 0; i < 15; ++i) hedging.add_answer(milliseconds(20));
  EXPECT_EQ(hedging.limit(), Hedging::kFirstLimit);
  hedging.add_answer(milliseconds(20));
  EXPECT_EQ(hedging.limit(), milliseconds(30));
}

TEST(Hedging, TheNewestAnswersCount) {
  Hedging hedging;
  for (int i = 0; i < 64; ++i) hedging.add_answer(milliseconds(20));
  hedging.add_answer(milliseconds(1000));
  hedging.add_answer(milliseconds(1000));
  EXPECT_EQ(hedging.limit(), milliseconds(30));
  for (int i = 0; i < 64; ++i) hedging.add_answer(milliseconds(300));
  EXPECT_EQ(hedging.limit(), milliseconds(450));
  for (int i = 0; i < 64; ++i) hedging.add_answer(milliseconds(0));
  EXPECT_EQ(hedging.limit(), Hedging::kShortestLimit);
}

TEST(Hedging, TheBudgetIsKept) {
  Hedging hedging;
  EXPECT_TRUE(hedging.take());
  EXPECT_TRUE(hedging.take());
  EXPECT_FALSE(hedging.take());
  for (int i = 0; i < 50; ++i) hedging.count_request();
  EXPECT_TRUE(hedging.take());
  EXPECT_FALSE(hedging.take());
}

/// Requests of 20 to 22 ms, of which one in a hundred takes a second more.
TEST(Hedging, ATailOfLateAnswersIsCutOffWithFewRequests) {
  std::mt19937 random(7);
  const auto answer_time = [&] {
    const auto usual = std::chrono::microseconds(20'000 + (random() % 2'000));
    return random() % 100 == 0 ? usual + milliseconds(1000) : Hedging::Duration(usual);
  };
  constexpr std::size_t kRequests = 20'000;
  Hedging hedging;
  std::vector<Hedging::Duration> took;
  took.reserve(kRequests);
  for (std::size_t i = 0; i < kRequests; ++i) {
    hedging.count_request();
    Hedging::Duration time = answer_time();
    const Hedging::Duration limit = hedging.limit();
    if (time > limit && hedging.take()) time = std::min(time, limit + answer_time());
    hedging.add_answer(time);
    took.push_back(time);
  }
  std::ranges::sort(took);
  EXPECT_LE(hedging.taken(), kRequests / 50 + Hedging::kAtFirst);
  const auto p50 = took[kRequests / 2];
  const auto p999 = took[kRequests * 999 / 1000];
  EXPECT_LE(p999 / 3, p50) << "p50 " << p50.count() << " ns, p99.9 " << p999.count() << " ns";
}

}  // namespace
}  // namespace lamina::remote
