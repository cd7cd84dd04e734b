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

constexpr std::uint64_t kBytes = std::uint64_t{256} << 10;

TEST(Hedging, FewAnswersDoNotChangeTheLimit) {
  Hedging hedging;
  for (int i = 0; i < 15; ++i) hedging.add_answer(milliseconds(20), kBytes);
  EXPECT_EQ(hedging.limit(kBytes), Hedging::kFirstLimit);
  hedging.add_answer(milliseconds(20), kBytes);
  EXPECT_EQ(hedging.limit(kBytes), milliseconds(30));
}

TEST(Hedging, TheNewestAnswersCount) {
  Hedging hedging;
  for (int i = 0; i < 64; ++i) hedging.add_answer(milliseconds(20), kBytes);
  hedging.add_answer(milliseconds(1000), kBytes);
  hedging.add_answer(milliseconds(1000), kBytes);
  EXPECT_EQ(hedging.limit(kBytes), milliseconds(30));
  for (int i = 0; i < 64; ++i) hedging.add_answer(milliseconds(300), kBytes);
  EXPECT_EQ(hedging.limit(kBytes), milliseconds(450));
  for (int i = 0; i < 64; ++i) hedging.add_answer(milliseconds(0), kBytes);
  EXPECT_EQ(hedging.limit(kBytes), Hedging::kShortestLimit);
}

TEST(Hedging, EachSizeHasItsOwnLimit) {
  constexpr std::uint64_t kSmall = 4096;
  constexpr std::uint64_t kLarge = std::uint64_t{16} << 20;
  Hedging hedging;
  for (int i = 0; i < 64; ++i) {
    hedging.add_answer(milliseconds(20), kSmall);
    hedging.add_answer(milliseconds(2000), kLarge);
  }
  EXPECT_EQ(hedging.limit(kSmall), milliseconds(30));
  EXPECT_EQ(hedging.limit(kLarge), milliseconds(3000));
  // Few samples of a size: it is between that of smaller and that of larger requests.
  EXPECT_EQ(hedging.limit(kBytes), Hedging::kFirstLimit);
}

TEST(Hedging, FewAnswersOfASizeAreComparedWithOtherSizes) {
  Hedging fast;
  for (int i = 0; i < 16; ++i) fast.add_answer(milliseconds(40), std::uint64_t{2} << 20);
  EXPECT_EQ(fast.limit(4096), milliseconds(60));
  EXPECT_EQ(fast.limit(std::uint64_t{16} << 20), Hedging::kFirstLimit);
  Hedging slow;
  for (int i = 0; i < 16; ++i) slow.add_answer(milliseconds(1000), 4096);
  EXPECT_EQ(slow.limit(kBytes), milliseconds(1500));
}

TEST(Hedging, WhoSendsFewRequestsHasAnEarlierLimit) {
  Hedging hedging;
  EXPECT_EQ(hedging.limit_of_few(4096), Hedging::kFirstLimit);
  hedging.add_answer(milliseconds(1000), 100);  // a late one
  hedging.add_answer(milliseconds(20), 100);
  hedging.add_answer(milliseconds(25), 100);
  EXPECT_EQ(hedging.limit_of_few(0), milliseconds(100));
  EXPECT_EQ(hedging.limit_of_few(std::uint64_t{4} << 20), milliseconds(350));
  EXPECT_EQ(hedging.limit_of_few(std::uint64_t{64} << 20), Hedging::kFirstLimit);
  EXPECT_EQ(hedging.limit(100), Hedging::kFirstLimit);
  for (int i = 0; i < 13; ++i) hedging.add_answer(milliseconds(20), 100);
  EXPECT_EQ(hedging.limit_of_few(0), hedging.limit(0));
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
  std::uint64_t sent_again = 0;
  took.reserve(kRequests);
  for (std::size_t i = 0; i < kRequests; ++i) {
    hedging.count_request();
    Hedging::Duration time = answer_time();
    const Hedging::Duration limit = hedging.limit(kBytes);
    if (time > limit && hedging.take()) {
      time = std::min(time, limit + answer_time());
      ++sent_again;
    }
    hedging.add_answer(time, kBytes);
    took.push_back(time);
  }
  std::ranges::sort(took);
  EXPECT_LE(sent_again, kRequests / 50 + Hedging::kAtFirst);
  const auto p50 = took[kRequests / 2];
  const auto p999 = took[kRequests * 999 / 1000];
  EXPECT_LE(p999 / 3, p50) << "p50 " << p50.count() << " ns, p99.9 " << p999.count() << " ns";
}

}  // namespace
}  // namespace lamina::remote
