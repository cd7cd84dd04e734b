#include "os/userfaultfd.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <thread>

#include "os/fd.h"

namespace lamina::os {
namespace {

constexpr std::size_t kPageBytes = 4096;
constexpr std::size_t kMemoryBytes = 16U << 20U;

/// A thread that repeatedly gives pages back and touches them again.
class Toucher {
 public:
  explicit Toucher(std::byte* memory) : thread_([this, memory] { run(memory); }) {}
  Toucher(const Toucher&) = delete;
  Toucher& operator=(const Toucher&) = delete;
  Toucher(Toucher&&) = delete;
  Toucher& operator=(Toucher&&) = delete;
  ~Toucher() {
    stop_ = true;
    thread_.join();
  }

  /// False if it makes no progress.
  [[nodiscard]] bool goes_on() const {
    constexpr std::chrono::seconds kTimeout{60};
    const std::uint64_t seen = touched_;
    const auto began = std::chrono::steady_clock::now();
    while (touched_ == seen) {
      if (std::chrono::steady_clock::now() - began > kTimeout) return false;
      std::this_thread::yield();  // it may need this processor
    }
    return true;
  }

 private:
  void run(std::byte* memory) {
    for (std::size_t offset = 0; !stop_; offset = (offset + kPageBytes) % kMemoryBytes) {
      ::madvise(memory + offset, kPageBytes, MADV_DONTNEED);
      static_cast<void>(*static_cast<volatile std::byte*>(memory + offset));
      ++touched_;
    }
  }

  std::atomic<std::uint64_t> touched_ = 0;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

TEST(Userfaultfd, UnregisterWakesAllWaiters) {
  const Fd fd(static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK)));
  uffdio_api api{UFFD_API, 0, 0};
  if (!fd.valid() || ::ioctl(fd.get(), UFFDIO_API, &api) != 0) {
    GTEST_SKIP() << "no userfaultfd for this user";
  }
  void* mapped =
      ::mmap(nullptr, kMemoryBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(mapped, MAP_FAILED);
  const auto address = reinterpret_cast<std::uint64_t>(mapped);
  {
    const Toucher toucher(static_cast<std::byte*>(mapped));
    // Without the wake after the unregistration the thread soon waits forever.
    constexpr int kRounds = 2'000;
    for (int round = 0; round < kRounds; ++round) {
      uffdio_register range{{address, kMemoryBytes}, UFFDIO_REGISTER_MODE_MISSING, 0};
      ASSERT_EQ(::ioctl(fd.get(), UFFDIO_REGISTER, &range), 0);
      ASSERT_TRUE(uffd_unregister(fd.get(), address, kMemoryBytes));
      const bool goes_on = toucher.goes_on();
      EXPECT_TRUE(goes_on) << "round " << round;
      if (!goes_on) {
        ASSERT_TRUE(uffd_wake(fd.get(), address, kMemoryBytes));
        break;
      }
    }
  }
  ::munmap(mapped, kMemoryBytes);
}

}  // namespace
}  // namespace lamina::os
