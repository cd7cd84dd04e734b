// Pauses between two attempts at what must succeed in the end.
#pragma once

#include <poll.h>

#include <algorithm>
#include <chrono>

namespace lamina::server {

class RetryPause {
 public:
  /// Each one is twice as long as the one before, up to a second.
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
