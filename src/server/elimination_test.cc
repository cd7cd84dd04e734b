#include "server/elimination.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace lamina::server {
namespace {

using Ids = Elimination::Ids;

Ids ids_up_to(std::uint64_t count) {
  Ids ids;
  for (std::uint64_t id = 1; id <= count; ++id) ids.insert(id);
  return ids;
}

struct Outcome {
  std::set<std::uint64_t> killed;
  int rounds = 0;
};

/// Serving processes crash at once while they serve one of `guilty`. Ends when one has lived with
/// all that are left, or after `rounds`.
Outcome run(Ids vms, const Ids& guilty, bool crashes_alone = false, int rounds = 10000) {
  Elimination elimination;
  Outcome outcome;
  while (outcome.rounds < rounds) {
    ++outcome.rounds;
    const Ids served = elimination.served().value_or(vms);
    const bool crashes = crashes_alone || std::any_of(served.begin(), served.end(),
                                                      [&](auto id) { return guilty.contains(id); });
    const bool all = !elimination.served().has_value();
    crashes ? elimination.crashed(vms) : elimination.lived(vms);
    if (const auto found = elimination.take_guilty()) {
      outcome.killed.insert(*found);
      vms.erase(*found);
    }
    if (all && !crashes) break;
  }
  return outcome;
}

TEST(Elimination, FindsTheOneAmongMany) {
  for (std::uint64_t guilty = 1; guilty <= 37; ++guilty) {
    EXPECT_EQ(run(ids_up_to(37), {guilty}).killed, Ids{guilty});
  }
  EXPECT_EQ(run({4}, {4}).killed, Ids{4});
}

TEST(Elimination, FindsSeveralOneAfterTheOther) {
  EXPECT_EQ(run(ids_up_to(16), {3, 4, 16}).killed, (Ids{3, 4, 16}));
}

TEST(Elimination, BlamesNobodyForWhatAlsoHappensWithoutVms) {
  const Outcome outcome = run(ids_up_to(8), {}, true, 500);
  EXPECT_EQ(outcome.killed, Ids{});
  EXPECT_EQ(outcome.rounds, 500);
}

TEST(Elimination, ServesAllUntilCrashesComeInARow) {
  Elimination elimination;
  const Ids vms = ids_up_to(3);
  for (int round = 0; round < 5; ++round) {
    for (int i = 0; i + 1 < Elimination::kCrashesToBegin; ++i) elimination.crashed(vms);
    EXPECT_FALSE(elimination.served());
    elimination.lived(vms);
  }
  for (int i = 0; i < 3 * Elimination::kCrashesToBegin; ++i) elimination.crashed({});
  EXPECT_FALSE(elimination.served());
}

TEST(Elimination, GoesOnWithoutAVmThatHasEnded) {
  Elimination elimination;
  const Ids vms = ids_up_to(4);
  for (int i = 0; i < Elimination::kCrashesToBegin; ++i) elimination.crashed(vms);
  ASSERT_EQ(elimination.served(), Ids());
  elimination.lived(vms);
  ASSERT_EQ(elimination.served(), (Ids{1, 2}));
  for (int i = 0; i < Elimination::kCrashesOfSome; ++i) elimination.crashed({3, 4});
  EXPECT_FALSE(elimination.served());
  EXPECT_FALSE(elimination.take_guilty());
}

TEST(Elimination, ThoseThatLivedAreServedAlong) {
  Elimination elimination;
  const Ids vms = ids_up_to(4);
  for (int i = 0; i < Elimination::kCrashesToBegin; ++i) elimination.crashed(vms);
  elimination.lived(vms);
  elimination.lived(vms);
  EXPECT_EQ(elimination.served(), (Ids{1, 2, 3}));
}

}  // namespace
}  // namespace lamina::server
