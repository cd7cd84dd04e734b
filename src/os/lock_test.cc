#include "os/lock.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include "os/fd.h"

namespace lamina::os {
namespace {

TEST(LockTest, WaitForLockTimesOutAndNamesTheHolder) {
  std::string path = testing::TempDir() + "lock-XXXXXX";
  const Fd holder(::mkstemp(path.data()));
  const Fd waiter(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  ASSERT_TRUE(try_lock(holder.get(), path).value_or(false));
  const auto waited = wait_for_lock(waiter.get(), path, std::chrono::milliseconds(20));
  ASSERT_FALSE(waited);
  EXPECT_EQ(waited.error().kind, ErrorKind::kBusy);
  EXPECT_EQ(waited.error().message, "lock '" + path + "': process " + std::to_string(::getpid()) +
                                        " has held it for more than 0 s");
  ::unlink(path.c_str());
}

/// Its holder may be stopped.
TEST(LockTest, WaitForASharedLockTimesOutToo) {
  std::string path = testing::TempDir() + "lock-XXXXXX";
  const Fd holder(::mkstemp(path.data()));
  const Fd first(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  const Fd second(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  constexpr std::chrono::milliseconds kLongest(20);
  ASSERT_TRUE(try_lock(holder.get(), path).value_or(false));
  const auto waited = wait_for_shared_lock(first.get(), path, kLongest);
  ASSERT_FALSE(waited);
  EXPECT_EQ(waited.error().kind, ErrorKind::kBusy);
  unlock(holder.get());
  EXPECT_TRUE(wait_for_shared_lock(first.get(), path, kLongest));
  EXPECT_TRUE(wait_for_shared_lock(second.get(), path, kLongest));
  EXPECT_FALSE(wait_for_lock(holder.get(), path, kLongest));
  ::unlink(path.c_str());
}

}  // namespace
}  // namespace lamina::os
