#include "operations/pin_summary.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <optional>
#include <string>
#include <vector>

#include "os/process.h"
#include "scratch_directory.h"
#include "store/open_store.h"
#include "store/pin.h"

namespace lamina::operations {
namespace {

class PinSummaryTest : public testing::Test {
 protected:
  void SetUp() override {
    auto opened = store::open_store(scratch_.path(), notes_);
    ASSERT_TRUE(opened) << opened.error().message;
    store_.emplace(std::move(*opened));
    const auto started = os::start_time_of(::getpid());
    ASSERT_TRUE(started) << started.error().message;
    start_time_ = *started;
  }

  // NOLINTBEGIN(*-non-private-member-variables-in-classes): a fixture
  tests::ScratchDirectory scratch_;
  std::vector<std::string> notes_;
  std::optional<store::Store> store_;
  std::uint64_t start_time_ = 0;
  // NOLINTEND(*-non-private-member-variables-in-classes)
};

TEST_F(PinSummaryTest, PinThatWasJustMadeIsThatOfARunningVm) {
  ASSERT_TRUE(store::Pin::claim(*store_, ::getpid(), start_time_));
  const std::vector<PinSummary> pins = summarize_pins(scratch_.path(), notes_);
  ASSERT_EQ(pins.size(), 1U);
  EXPECT_FALSE(pins.front().listing.error) << pins.front().listing.error->message;
  EXPECT_TRUE(pins.front().listing.running);
  EXPECT_EQ(pins.front().listing.pid, ::getpid());
}

TEST_F(PinSummaryTest, PinWithoutFactsOfAVmThatHasEndedIsAnError) {
  ASSERT_TRUE(store::Pin::claim(*store_, ::getpid(), start_time_ + 100));
  const std::vector<PinSummary> pins = summarize_pins(scratch_.path(), notes_);
  ASSERT_EQ(pins.size(), 1U);
  EXPECT_TRUE(pins.front().listing.error);
  EXPECT_FALSE(pins.front().listing.running);
}

}  // namespace
}  // namespace lamina::operations
