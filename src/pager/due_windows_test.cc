#include "pager/due_windows.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

namespace lamina::pager {
namespace {

class DueWindowsTest : public testing::Test {
 protected:
  static constexpr std::uint32_t kBlocks = 100'000;
  static constexpr std::uint32_t kDataBlocks = 16;
  static constexpr std::uint32_t kZeroBlocks = 512;

  std::vector<std::uint64_t> data_bits_ =
      std::vector<std::uint64_t>(FaultAround::words_for(kBlocks));
  std::vector<std::uint64_t> zero_bits_ =
      std::vector<std::uint64_t>(FaultAround::words_for(kBlocks));
  FaultAround data_{kBlocks, {kDataBlocks, 3}, data_bits_};
  FaultAround zeros_{kBlocks, {kZeroBlocks, 6}, zero_bits_};
  DueWindows due_;
};

TEST_F(DueWindowsTest, OldestIsFirstRoundAfterRound) {
  std::uint32_t added = 0;
  std::uint32_t taken = 0;
  for (int round = 0; round < 5; ++round) {
    while (!due_.full()) due_.add({&data_, kDataBlocks * added++});
    for (std::size_t i = 0; i < DueWindows::kRoom / 2 + 1; ++i) {
      EXPECT_EQ(due_.oldest().block, kDataBlocks * taken++);
      due_.drop_oldest();
    }
  }
  while (!due_.empty()) {
    EXPECT_EQ(due_.oldest().block, kDataBlocks * taken++);
    due_.drop_oldest();
  }
  EXPECT_EQ(taken, added);
}

TEST_F(DueWindowsTest, WindowIsInItOnceForEachKind) {
  due_.add({&data_, 3});
  EXPECT_TRUE(due_.holds({&data_, 15}));
  EXPECT_FALSE(due_.holds({&zeros_, 15}));
  due_.add({&zeros_, 15});
  EXPECT_TRUE(due_.holds({&zeros_, 511}));
  EXPECT_FALSE(due_.holds({&data_, 16}));
  due_.add({&data_, 16});
  EXPECT_EQ(due_.oldest().block, 3);
  due_.drop_oldest();
  EXPECT_EQ(due_.oldest().windows, &zeros_);
  due_.drop_oldest();
  EXPECT_EQ(due_.oldest().block, 16);
  due_.drop_oldest();
  EXPECT_TRUE(due_.empty());
}

}  // namespace
}  // namespace lamina::pager
