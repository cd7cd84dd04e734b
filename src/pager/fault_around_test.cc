#include "pager/fault_around.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

namespace lamina::pager {
namespace {

constexpr std::uint32_t kBlocks = 1000;
constexpr FaultWindow kWindow{16, 3};

TEST(FaultAround, WindowsAreAlignedAndEndWithTheMemory) {
  std::vector<std::uint64_t> bits(FaultAround::words_for(kBlocks));
  const FaultAround around(kBlocks, kWindow, bits);
  EXPECT_EQ(around.window_of(0), (BlockRun{0, 16}));
  EXPECT_EQ(around.window_of(47), (BlockRun{32, 16}));
  EXPECT_EQ(around.window_of(999), (BlockRun{992, 8}));
}

TEST(FaultAround, WindowIsFilledAtOnceAfterEnoughFaults) {
  std::vector<std::uint64_t> bits(FaultAround::words_for(kBlocks));
  FaultAround around(kBlocks, kWindow, bits);
  for (const std::uint32_t block : {100U, 200U, 102U, 110U}) EXPECT_FALSE(around.add_fault(block));
  EXPECT_TRUE(around.add_fault(105)) << "the fourth";
  for (const std::uint32_t block : {100U, 200U, 102U, 110U}) {
    ASSERT_TRUE(around.has_deferred());
    EXPECT_EQ(around.oldest_deferred(), block);
    around.drop_oldest_deferred();
  }
  EXPECT_FALSE(around.has_deferred()) << "what is filled at once is not put off";
}

TEST(FaultAround, OldestDeferredFaultIsTakenAndDroppedFirst) {
  std::vector<std::uint64_t> bits(FaultAround::words_for(kBlocks));
  FaultAround around(kBlocks, kWindow, bits);
  constexpr auto kWindows = static_cast<std::uint32_t>(FaultAround::kMaxDeferred + 2);
  for (std::uint32_t i = 0; i < kWindows; ++i) EXPECT_FALSE(around.add_fault(16 * i + 5));
  for (std::uint32_t i = 2; i < kWindows; ++i) {
    ASSERT_TRUE(around.has_deferred());
    EXPECT_EQ(around.oldest_deferred(), 16 * i + 5);
    around.drop_oldest_deferred();
  }
  EXPECT_FALSE(around.has_deferred());
}

TEST(FaultAround, SequentialReadFillsTheNextWindowAtOnce) {
  std::vector<std::uint64_t> bits(FaultAround::words_for(kBlocks));
  FaultAround around(kBlocks, kWindow, bits);
  EXPECT_FALSE(around.add_fault(31));
  EXPECT_TRUE(around.add_fault(32)) << "upwards";
  EXPECT_FALSE(around.add_fault(64));
  EXPECT_TRUE(around.add_fault(63)) << "downwards";
  EXPECT_FALSE(around.add_fault(113)) << "not the first of its window";
  EXPECT_FALSE(around.add_fault(0)) << "nothing is below";
  EXPECT_FALSE(around.add_fault(kBlocks - 1)) << "nothing is above";
}

TEST(FaultAround, BlocksMarkedMissingDoNotCount) {
  std::vector<std::uint64_t> bits(FaultAround::words_for(kBlocks));
  FaultAround around(kBlocks, kWindow, bits);
  for (const std::uint32_t block : {300U, 301U, 302U}) EXPECT_FALSE(around.add_fault(block));
  EXPECT_TRUE(around.is_filled(301));
  EXPECT_EQ(around.missing_from(301, 320), 0);
  EXPECT_EQ(around.missing_from(303, 320), 17);
  around.mark_missing({301, 1});
  EXPECT_FALSE(around.is_filled(301));
  EXPECT_FALSE(around.add_fault(301));
}

/// Fills a piece part by part; returns what is wrong with a part, or nothing.
std::string fill_in_parts(FaultAround& around, const BlockRun& piece, std::uint32_t block,
                          std::uint32_t limit) {
  const std::uint32_t end = piece.end();
  const auto is_missing_from = [&](std::uint32_t first) {
    return around.missing_from(first, end) > 0;
  };
  for (std::uint32_t parts = 0; parts <= piece.count; ++parts) {
    const BlockRun part = around.next_part(piece, block, limit);
    if (part.count == 0) {
      for (std::uint32_t i = piece.first; i < end; ++i) {
        if (!around.is_filled(i)) return "it ends before all is filled";
      }
      return {};
    }
    const std::uint32_t part_end = part.end();
    if (part.first < piece.first || part_end > end) return "it leaves the piece";
    if (part.count > limit) return "it is over the limit";
    if (around.is_filled(part.first)) return "it begins with a filled block";
    bool above = false;
    for (std::uint32_t i = block; i < end; ++i) above |= is_missing_from(i);
    if (above && part_end <= block) return "it does not go upwards first";
    around.mark_filled(part);
  }
  return "it takes too many parts";
}

constexpr std::uint32_t kPieceBlocks = 8;
constexpr std::uint32_t kPieceFirst = 60;  // over the border of a word

/// Fills the blocks [first, end) from every fault in them, under every limit. `filled`: a bit for
/// each block that is filled before.
void expect_filled(std::uint32_t first, std::uint32_t end, std::uint32_t filled) {
  for (std::uint32_t block = first; block < end; ++block) {
    for (std::uint32_t limit = 1; limit <= kPieceBlocks; ++limit) {
      std::vector<std::uint64_t> bits(FaultAround::words_for(kPieceFirst + kPieceBlocks));
      FaultAround around(kPieceFirst + kPieceBlocks, {kPieceBlocks, 1}, bits);
      for (std::uint32_t i = 0; i < kPieceBlocks; ++i) {
        if (((filled >> i) & 1U) != 0) around.mark_filled({kPieceFirst + i, 1});
      }
      ASSERT_EQ(
          fill_in_parts(around, {kPieceFirst + first, end - first}, kPieceFirst + block, limit), "")
          << first << " " << end << " " << filled << " " << block << " " << limit;
    }
  }
}

TEST(FaultAround, NextPartFillsEveryPieceFromEveryState) {
  for (std::uint32_t first = 0; first < kPieceBlocks; ++first) {
    for (std::uint32_t end = first + 1; end <= kPieceBlocks; ++end) {
      for (std::uint32_t filled = 0; filled < (1U << kPieceBlocks); ++filled) {
        expect_filled(first, end, filled);
        ASSERT_FALSE(testing::Test::HasFatalFailure());
      }
    }
  }
}

TEST(FaultAround, WindowOfOneBlockIsNeverDeferred) {
  std::vector<std::uint64_t> bits(FaultAround::words_for(kBlocks));
  FaultAround around(kBlocks, {1, 1}, bits);
  for (std::uint32_t block = 0; block < 5; ++block) EXPECT_FALSE(around.add_fault(block));
  EXPECT_FALSE(around.has_deferred());
}

}  // namespace
}  // namespace lamina::pager
