// Starts to write a file to the disk while the rest of it is still being made, so that the sync at
// the end has little left to wait for. Measured in docs/performance.md, "What was tried".
#pragma once

#include <cstdint>

#include "os/page_cache.h"

namespace lamina::engine {

/// For a file that is written from its start to its end, mostly; not thread-safe. Promises nothing:
/// the sync at the end does.
class WriteBehind {
 public:
  explicit WriteBehind(int fd) : fd_(fd) {}

  /// All that will be written before `offset` has been.
  void written_until(std::uint64_t offset) {
    if (offset < started_ + kStepBytes) return;
    os::start_writeback(fd_, started_, offset - started_);
    started_ = offset;
  }

 private:
  static constexpr std::uint64_t kStepBytes = std::uint64_t{8} << 20;

  int fd_;
  std::uint64_t started_ = 0;
};

}  // namespace lamina::engine
