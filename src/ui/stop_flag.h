// Interrupts what the console's requests do once the console is to end.
#pragma once

#include <atomic>
#include <cstdint>
#include <string_view>

#include "lamina/progress.h"

namespace lamina::ui {

/// Thread-safe; any number of operations may use it at the same time.
class StopFlag final : public Progress {
 public:
  void begin(std::string_view /*phase*/, std::uint64_t /*total_bytes*/) override {}
  void advance(std::uint64_t /*bytes*/) override {}
  [[nodiscard]] bool interrupted() override { return stopped_; }

  void stop() { stopped_ = true; }

 private:
  std::atomic<bool> stopped_ = false;
};

}  // namespace lamina::ui
