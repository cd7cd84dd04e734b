// For tests: a Progress that interrupts at a given moment.
#pragma once

#include <cstdint>
#include <string_view>

#include "lamina/progress.h"

namespace lamina::lifecycle {

/// Asks to stop once it has been asked `asked` times. Adds up the bytes that it is told of.
class StopAfter : public Progress {
 public:
  explicit StopAfter(int asked) : left_(asked) {}
  void begin(std::string_view /*phase*/, std::uint64_t total_bytes) override {
    total_bytes_ = total_bytes;
  }
  void advance(std::uint64_t bytes) override { done_bytes_ += bytes; }
  [[nodiscard]] bool interrupted() override { return left_-- <= 0; }
  [[nodiscard]] std::uint64_t total_bytes() const { return total_bytes_; }
  [[nodiscard]] std::uint64_t done_bytes() const { return done_bytes_; }

 private:
  int left_;
  std::uint64_t total_bytes_ = 0;
  std::uint64_t done_bytes_ = 0;
};

}  // namespace lamina::lifecycle
