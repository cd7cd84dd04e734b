#include "http/worker_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <latch>

#include "os/long_wait.h"

namespace lamina::http {
namespace {

constexpr std::size_t kMany = 64;

TEST(WorkerPoolTest, WaitingJobsDoNotDelayOthers) {
  constexpr std::ptrdiff_t kWaiting = 20;
  std::latch begun(kWaiting);
  std::latch release(1);
  std::latch healthy(1);
  {
    WorkerPool pool(1, kMany, kMany);
    for (std::ptrdiff_t i = 0; i < kWaiting; ++i) {
      ASSERT_TRUE(pool.submit([&] {
        const os::LongWait waiting;
        begun.count_down();
        release.wait();
      }));
    }
    begun.wait();
    ASSERT_TRUE(pool.submit([&] { healthy.count_down(); }));
    healthy.wait();
    release.count_down();
  }
}

TEST(WorkerPoolTest, RunningJobsDoNotExceedTheLimit) {
  std::atomic<int> at_work = 0;
  std::atomic<int> most = 0;
  {
    WorkerPool pool(2, kMany, kMany);
    for (std::size_t i = 0; i < kMany; ++i) {
      ASSERT_TRUE(pool.submit([&] {
        const int now = ++at_work;
        int seen = most;
        while (seen < now && !most.compare_exchange_weak(seen, now)) {
        }
        std::this_thread::yield();
        --at_work;
      }));
    }
  }
  EXPECT_LE(most, 2);
  EXPECT_GE(most, 1);
}

TEST(WorkerPoolTest, JobGoesOnAtOnceAfterItsWait) {
  std::latch waits(1);
  std::latch release(1);
  std::latch works(1);
  std::latch gone_on(1);
  {
    WorkerPool pool(1, kMany, kMany);
    ASSERT_TRUE(pool.submit([&] {
      {
        const os::LongWait waiting;
        waits.count_down();
        release.wait();
      }
      gone_on.count_down();
    }));
    waits.wait();
    ASSERT_TRUE(pool.submit([&] {
      works.count_down();
      // This job has the only place, and keeps it until the other has gone on without one.
      gone_on.wait();
    }));
    works.wait();
    release.count_down();
  }
}

TEST(WorkerPoolTest, JobIsRefusedWhenTheQueueIsFull) {
  std::latch begun(1);
  std::latch release(1);
  WorkerPool pool(1, 1, 1);
  ASSERT_TRUE(pool.submit([&] {
    begun.count_down();
    release.wait();
  }));
  begun.wait();
  EXPECT_TRUE(pool.submit([] {}));
  EXPECT_FALSE(pool.submit([] {}));
  release.count_down();
}

}  // namespace
}  // namespace lamina::http
