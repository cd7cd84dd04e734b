#include "operations/rate_limit.h"

#include <algorithm>
#include <utility>

#include "os/clock.h"

namespace lamina::operations {
namespace {

constexpr std::uint64_t kNanosecondsPerSecond = 1'000'000'000;

/// The longest sleep before interrupted() is asked again.
constexpr std::uint64_t kSliceNs = kNanosecondsPerSecond / 10;

}  // namespace

RateClock RateClock::real() { return {os::monotonic_ns, os::sleep_until}; }

RateLimitedProgress::RateLimitedProgress(Progress* inner, std::uint64_t bytes_per_second,
                                         RateClock clock)
    : inner_(inner), bytes_per_second_(bytes_per_second), clock_(std::move(clock)) {}

void RateLimitedProgress::begin(std::string_view phase, std::uint64_t total_bytes) {
  if (inner_ != nullptr) inner_->begin(phase, total_bytes);
  due_ns_ = clock_.now_ns();
}

void RateLimitedProgress::advance(std::uint64_t bytes) {
  if (inner_ != nullptr) inner_->advance(bytes);
  std::uint64_t now = clock_.now_ns();
  // The product fits, because a step is 64 MiB at most.
  due_ns_ = std::max(due_ns_, now) + bytes * kNanosecondsPerSecond / bytes_per_second_;
  while (now < due_ns_ && !interrupted()) {
    clock_.sleep_until(std::min(due_ns_, now + kSliceNs));
    now = clock_.now_ns();
  }
}

bool RateLimitedProgress::interrupted() { return inner_ != nullptr && inner_->interrupted(); }

}  // namespace lamina::operations
