#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>

#include "daemon/metrics.h"
#include "lamina/listing.h"

namespace lamina::daemon {

/// What a store holds, as metrics. Looked at when asked for, and again when something has changed
/// by our hand, or the last look is some seconds old. Thread-safe.
class StoreFigures {
 public:
  explicit StoreFigures(std::string store) : store_(std::move(store)) {}

  /// Something has been changed.
  void changed();

  void write(MetricsText& text);

  /// The metrics of the page server, where its socket is known and it answers; else empty. Asks
  /// once at a time: one that hangs costs one thread.
  std::string of_page_server();

 private:
  const std::string store_;
  std::mutex mutex_;
  std::mutex asking_;
  bool is_fresh_ = false;
  std::chrono::steady_clock::time_point looked_;
  Result<StoreListing> listing_;
};

}  // namespace lamina::daemon
