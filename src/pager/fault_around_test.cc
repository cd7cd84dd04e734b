#include "pager/fault_around.h"

#include <gtest/gtest.h>

namespace lamina::pager {
namespace {

constexpr std::uint32_t kBlocks = 1000;
constexpr FaultWindow kWindow{16, 3};

TEST(FaultAround, WindowsAreAlignedAndEndWithTheMemory) {
  const FaultAround around(kBlocks, kWindow);
  EXPECT_EQ(around.window_of(0), (format::BlockRun{0, 16}));
  EXPECT_EQ(around.window_of(47), (format::BlockRun{32, 16}));
  EXPECT_EQ(around.window_of(999), (format::BlockRun{992, 8}));
}

TEST(FaultAround, AWindowIsPutOffOnceAndFilledAtOnceWhenItsFaultsHaveCostAsMuch) {
  FaultAround around(kBlocks, kWindow);
  EXPECT_FALSE(around.add_fault(100));
  EXPECT_FALSE(around.add_fault(200));
  EXPECT_FALSE(around.add_fault(102));
  EXPECT_FALSE(around.add_fault(110));
  EXPECT_TRUE(around.add_fault(105)) << "the fourth";
  ASSERT_TRUE(around.has_put_off());
  EXPECT_EQ(around.oldest_put_off(), 200);
  around.drop_oldest_put_off();
  EXPECT_FALSE(around.has_put_off()) << "what is filled at once is not put off, too";
}

TEST(FaultAround, TheOldestAreTakenFirstAndForgottenFirst) {
  FaultAround around(kBlocks, kWindow);
  constexpr auto kWindows = static_cast<std::uint32_t>(FaultAround::kMaxPutOff + 2);
  for (std::uint32_t i = 0; i < kWindows; ++i) EXPECT_FALSE(around.add_fault(16 * i + 5));
  for (std::uint32_t i = 2; i < kWindows; ++i) {
    ASSERT_TRUE(around.has_put_off());
    EXPECT_EQ(around.oldest_put_off(), 16 * i + 5);
    around.drop_oldest_put_off();
  }
  EXPECT_FALSE(around.has_put_off());
}

TEST(FaultAround, WhoReadsOnIntoTheNextWindowHasItFilledAtOnce) {
  FaultAround around(kBlocks, kWindow);
  EXPECT_FALSE(around.add_fault(31));
  EXPECT_TRUE(around.add_fault(32)) << "upwards";
  EXPECT_FALSE(around.add_fault(64));
  EXPECT_TRUE(around.add_fault(63)) << "downwards";
  EXPECT_FALSE(around.add_fault(113)) << "not the first of its window";
  EXPECT_FALSE(around.add_fault(0)) << "nothing is below";
  EXPECT_FALSE(around.add_fault(kBlocks - 1)) << "nothing is above";
}

TEST(FaultAround, WhatIsMissingAgainCountsNoMore) {
  FaultAround around(kBlocks, kWindow);
  for (const std::uint32_t block : {300U, 301U, 302U}) EXPECT_FALSE(around.add_fault(block));
  EXPECT_TRUE(around.is_filled(301));
  EXPECT_EQ(around.missing_from(301, 320), 0);
  EXPECT_EQ(around.missing_from(303, 320), 17);
  around.mark_missing(301);
  EXPECT_FALSE(around.is_filled(301));
  EXPECT_FALSE(around.add_fault(301));
}

TEST(FaultAround, NothingIsAroundAFaultInAWindowOfOne) {
  FaultAround around(kBlocks, {1, 1});
  for (std::uint32_t block = 0; block < 5; ++block) EXPECT_FALSE(around.add_fault(block));
  EXPECT_FALSE(around.has_put_off());
}

}  // namespace
}  // namespace lamina::pager
