#include "daemon/event_numbers.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <string>

#include "os/fd.h"

namespace lamina::daemon {
namespace {

class EventNumbersTest : public testing::Test {
 protected:
  EventNumbersTest() : file_(::mkstemp(path_.data())) {}
  EventNumbersTest(const EventNumbersTest&) = delete;
  EventNumbersTest& operator=(const EventNumbersTest&) = delete;
  EventNumbersTest(EventNumbersTest&&) = delete;
  EventNumbersTest& operator=(EventNumbersTest&&) = delete;
  ~EventNumbersTest() override { ::unlink(path_.c_str()); }

  EventNumbers at(std::uint64_t time_ms) { return {file_.get(), path_, time_ms}; }

 private:
  std::string path_ = testing::TempDir() + "event-numbers-XXXXXX";
  os::Fd file_;
};

TEST_F(EventNumbersTest, BeginWithTheTimeAndGrowByOne) {
  EventNumbers numbers = at(1000);
  EXPECT_EQ(numbers.next(), 1000U);
  EXPECT_EQ(numbers.next(), 1001U);
}

TEST_F(EventNumbersTest, GrowWhenTheClockWasSetBack) {
  std::uint64_t last = 0;
  {
    EventNumbers numbers = at(5'000'000'000);
    // More numbers than one reservation has.
    for (int i = 0; i < 2'200'000; ++i) last = numbers.next();
  }
  EventNumbers numbers = at(1000);
  EXPECT_GT(numbers.next(), last);
}

TEST_F(EventNumbersTest, FollowAClockThatWentForward) {
  at(1000).next();
  EXPECT_EQ(at(90'000'000'000).next(), 90'000'000'000U);
}

}  // namespace
}  // namespace lamina::daemon
