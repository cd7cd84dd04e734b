#include "os/clock.h"

#include <time.h>

#include <cerrno>

namespace lamina::os {
namespace {

constexpr std::uint64_t kNanoseconds = 1'000'000'000;  // in a second

}  // namespace

std::uint64_t monotonic_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * kNanoseconds +
         static_cast<std::uint64_t>(now.tv_nsec);
}

void sleep_until(std::uint64_t deadline_ns) {
  timespec deadline{};
  deadline.tv_sec = static_cast<time_t>(deadline_ns / kNanoseconds);
  deadline.tv_nsec = static_cast<decltype(deadline.tv_nsec)>(deadline_ns % kNanoseconds);
  while (::clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &deadline, nullptr) == EINTR) {
  }
}

}  // namespace lamina::os
