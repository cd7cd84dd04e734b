// Growing pauses between the attempts of an operation that is repeated until it succeeds.
#pragma once

#include <poll.h>

#include <algorithm>
#include <chrono>

namespace lamina::server {

class RetryPause {
 public:
  /// Sleeps. Each pause is twice as long as the one before, up to a second.
  void wait() {
    ::poll(nullptr, 0, static_cast<int>(next_.count()));
    next_ = std::min(next_ * 2, kLongest);
  }

 private:
  static constexpr std::chrono::milliseconds kFirst{10};
  static constexpr std::chrono::milliseconds kLongest{1000};

  std::chrono::milliseconds next_ = kFirst;
};

}  // namespace lamina::server
