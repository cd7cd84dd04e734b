#pragma once

#include <signal.h>

#include <cstdint>

namespace lamina::os {

/// Blocks signals of this thread for the lifetime of this object. Threads and children that are
/// made meanwhile inherit that.
class BlockedSignals {
 public:
  enum class Which : std::uint8_t {
    kAll,
    /// Those that one process sends to another. Not those that a thread causes by a fault, which
    /// would kill the process without their handlers, nor SIGPROF, by which profilers look at a
    /// thread.
    kSent,
  };

  explicit BlockedSignals(Which which);
  BlockedSignals(const BlockedSignals&) = delete;
  BlockedSignals& operator=(const BlockedSignals&) = delete;
  BlockedSignals(BlockedSignals&&) = delete;
  BlockedSignals& operator=(BlockedSignals&&) = delete;
  ~BlockedSignals();

 private:
  sigset_t before_{};
};

}  // namespace lamina::os
