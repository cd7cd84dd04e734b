#pragma once

#include <cstdint>
#include <string_view>

#include "lamina/progress.h"

namespace lamina::lifecycle {

/// Forwards the caller's request to stop, until ignore() is called.
class Interruption : public Progress {
 public:
  /// `progress` may be null.
  explicit Interruption(Progress* progress) : progress_(progress) {}

  /// From now on requests to stop are ignored: the operation runs to its end.
  void ignore() { progress_ = nullptr; }

  void begin(std::string_view /*phase*/, std::uint64_t /*total_bytes*/) override {}
  void advance(std::uint64_t /*bytes*/) override {}
  [[nodiscard]] bool interrupted() override {
    return progress_ != nullptr && progress_->interrupted();
  }

 private:
  Progress* progress_;
};

}  // namespace lamina::lifecycle
