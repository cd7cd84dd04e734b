// Starts writing a file back while the rest of it is still being produced, so that the final sync
// has little left to write. Measured in docs/decisions/0029-ways-not-taken.md.
#pragma once

#include <cstdint>

#include "os/page_cache.h"

namespace lamina::engine {

/// For a file that is mostly written from start to end; not thread-safe. Does not replace the final
/// sync.
class WriteBehind {
 public:
  explicit WriteBehind(int fd) : fd_(fd) {}

  /// To be called once everything before `offset` has been written.
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
