#include "os/poll.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <stdexcept>

#include "os/event.h"

namespace lamina::os {
namespace {

/// The soft limit of open files while it exists. Descriptors that are open stay so.
class OpenFileLimit {
 public:
  explicit OpenFileLimit(rlim_t limit) {
    if (::getrlimit(RLIMIT_NOFILE, &before_) != 0) throw std::runtime_error("getrlimit");
    const rlimit changed{limit, before_.rlim_max};
    if (::setrlimit(RLIMIT_NOFILE, &changed) != 0) throw std::runtime_error("setrlimit");
  }
  OpenFileLimit(const OpenFileLimit&) = delete;
  OpenFileLimit& operator=(const OpenFileLimit&) = delete;
  OpenFileLimit(OpenFileLimit&&) = delete;
  OpenFileLimit& operator=(OpenFileLimit&&) = delete;
  ~OpenFileLimit() { ::setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_{};
};

class PollTest : public testing::Test {
 protected:
  void SetUp() override {
    auto event = Event::create("poll");
    ASSERT_TRUE(event) << event.error().message;
    event_ = std::move(*event);
    entries_ = {pollfd{-1, POLLIN, 0}, pollfd{event_.fd(), POLLIN, 0}, pollfd{-1, POLLIN, 0}};
  }

  Event event_;
  std::array<pollfd, 3> entries_{};
};

TEST_F(PollTest, EventIsFound) {
  auto found = wait_for_events(entries_, 0);
  ASSERT_TRUE(found);
  EXPECT_FALSE(*found);
  event_.signal();
  found = wait_for_events(entries_, -1);
  ASSERT_TRUE(found);
  EXPECT_TRUE(*found);
  EXPECT_EQ(entries_[1].revents, POLLIN);
}

TEST_F(PollTest, EventIsFoundAmongMoreEntriesThanTheLimitOfOpenFilesPermits) {
  entries_[0].revents = POLLIN;
  const OpenFileLimit limit(2);
  ASSERT_LT(::poll(entries_.data(), entries_.size(), 0), 0);
  auto found = wait_for_events(entries_, 1);
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_FALSE(*found);
  EXPECT_EQ(entries_[0].revents, 0);
  event_.signal();
  found = wait_for_events(entries_, -1);
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_TRUE(*found);
  EXPECT_EQ(entries_[1].revents, POLLIN);
}

TEST_F(PollTest, RefusalOfEveryEntryIsAnErrorWithARemedy) {
  event_.signal();
  const OpenFileLimit limit(0);
  const auto found = wait_for_events(entries_, -1);
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().error_number, EINVAL);
  EXPECT_NE(found.error().remedy, "");
  EXPECT_EQ(entries_[1].revents, 0);
}

TEST(OpenFileLimitTest, LowLimitIsNamed) {
  EXPECT_TRUE(check_open_file_limit(3, "a page server"));
  const OpenFileLimit limit(7);
  EXPECT_TRUE(check_open_file_limit(7, "a page server"));
  const auto low = check_open_file_limit(8, "a page server");
  ASSERT_FALSE(low);
  EXPECT_EQ(low.error().message,
            "a page server needs 8 descriptors at least, and may have 7 (RLIMIT_NOFILE)");
  EXPECT_NE(low.error().remedy, "");
}

}  // namespace
}  // namespace lamina::os
