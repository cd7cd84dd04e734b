// The protocol holds in every state of small configurations, and each fault is found.
#include <gtest/gtest.h>

#include <cctype>
#include <iostream>
#include <set>
#include <string>

#include "configurations.h"
#include "explorer.h"

namespace lamina::object_tier_model {

// Found by GoogleTest, which would print bytes.
void PrintTo(const Config& config, std::ostream* out) {  // NOLINT(readability-identifier-naming)
  *out << (config.name.empty() ? word_of(config.mutation) : config.name);
}
void PrintTo(const Fault& fault, std::ostream* out) {  // NOLINT(readability-identifier-naming)
  PrintTo(fault.config, out);
}

namespace {

constexpr std::uint64_t kLimit = 30'000'000;

std::string test_name(std::string_view words) {
  std::string name;
  bool is_start = true;
  for (const char character : words) {
    if (std::isalnum(static_cast<unsigned char>(character)) == 0) {
      is_start = true;
      continue;
    }
    name += is_start ? static_cast<char>(std::toupper(static_cast<unsigned char>(character)))
                     : character;
    is_start = false;
  }
  return name;
}

std::string text_of(const Search& search) {
  std::string text = std::string(word_of(search.violation)) + ":\n";
  for (const std::string& step : search.trace) text += "  " + step + "\n";
  return text;
}

class ProtocolTest : public testing::TestWithParam<Config> {};

TEST_P(ProtocolTest, HoldsInEveryState) {
  const Search search = explore(GetParam(), kLimit);
  EXPECT_EQ(search.violation, Violation::kNone) << text_of(search);
  EXPECT_TRUE(search.complete);
  RecordProperty("states", std::to_string(search.states));
  std::cout << search.states << " states, " << search.steps << " steps, depth " << search.depth
            << "\n";
}

INSTANTIATE_TEST_SUITE_P(Model, ProtocolTest, testing::ValuesIn(small_configurations()),
                         [](const auto& test) { return test_name(test.param.name); });

class FaultTest : public testing::TestWithParam<Fault> {};

TEST_P(FaultTest, IsFound) {
  const auto& [violation, config] = GetParam();
  const Search search = explore(config, kLimit, violation);
  EXPECT_EQ(search.violation, violation);
  std::cout << search.states << " states; " << word_of(config.mutation) << ": " << text_of(search);
}

INSTANTIATE_TEST_SUITE_P(Model, FaultTest, testing::ValuesIn(faults()), [](const auto& test) {
  return test_name(word_of(test.param.config.mutation)) + std::to_string(test.index);
});

TEST(ModelTest, EveryFaultIsTried) {
  std::set<Mutation> tried;
  for (const Fault& fault : faults()) tried.insert(fault.config.mutation);
  EXPECT_EQ(tried.size(), static_cast<std::size_t>(Mutation::kPullTakesVoidForState));
}

/// A search that finds nothing proves nothing if nothing happens in it.
TEST(ModelTest, SearchesSeeWhatCanGoWrong) {
  Seen seen;
  for (const Config& config : small_configurations()) {
    const Search search = explore(config, kLimit);
    for (int push = 0; push < kPushes; ++push) {
      seen.acknowledged[push] |= search.seen.acknowledged[push];
    }
    seen.conflict |= search.seen.conflict;
    seen.second_attempt_acknowledged |= search.seen.second_attempt_acknowledged;
    seen.collected |= search.seen.collected;
    seen.uploaded_anew |= search.seen.uploaded_anew;
    seen.void_stored |= search.seen.void_stored;
    seen.removal_stored |= search.seen.removal_stored;
    seen.late_manifest |= search.seen.late_manifest;
    seen.dead_tombstone |= search.seen.dead_tombstone;
    seen.pull_ended |= search.seen.pull_ended;
  }
  for (const bool acknowledged : seen.acknowledged) EXPECT_TRUE(acknowledged);
  EXPECT_TRUE(seen.conflict);
  EXPECT_TRUE(seen.second_attempt_acknowledged);
  EXPECT_TRUE(seen.collected);
  EXPECT_TRUE(seen.uploaded_anew);
  EXPECT_TRUE(seen.void_stored);
  EXPECT_TRUE(seen.removal_stored);
  EXPECT_TRUE(seen.late_manifest);
  EXPECT_TRUE(seen.dead_tombstone);
  EXPECT_TRUE(seen.pull_ended);
}

/// The check of the pin protects what is acknowledged only if no request is late, and leaves a
/// broken manifest behind even then (the faults show both).
TEST(ModelTest, PinCheckInsteadOfVoidLosesNothingAcknowledgedWithoutLateRequests) {
  const Config config{.pushers = 1,
                      .upload = false,
                      .collectors = 1,
                      .initially_removed = true,
                      .mutation = Mutation::kPinCheckInsteadOfVoid};
  const Search search = explore(config, kLimit, Violation::kLost);
  EXPECT_EQ(search.violation, Violation::kNone) << text_of(search);
}

}  // namespace
}  // namespace lamina::object_tier_model
