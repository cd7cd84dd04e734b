// A log that peers cannot flood: of similar lines a few are written, the rest are counted.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <string>

namespace lamina::server {

/// Not thread-safe.
class LogLimiter {
 public:
  using Clock = std::chrono::steady_clock;
  using Write = std::function<void(const std::string&)>;

  /// Lines of one kind that are written before the rest are only counted.
  static constexpr std::uint64_t kAtOnce = 10;
  /// Interval at which counts are written. A kind without lines for this long counts as new.
  static constexpr std::chrono::seconds kPeriod{60};
  /// More kinds than these count as one.
  static constexpr std::size_t kMaxKinds = 64;

  /// `write` may be empty.
  explicit LogLimiter(Write write) : write_(std::move(write)) {}

  /// Writes the line, or counts it. Lines are of one kind if they differ only in numbers and in
  /// quoted text.
  void say(const std::string& line, Clock::time_point now = Clock::now());

  /// Writes the counts that are due.
  void write_counts(Clock::time_point now = Clock::now());

  /// Milliseconds until write_counts() has something to do; -1: nothing is held back.
  [[nodiscard]] int due_ms(Clock::time_point now = Clock::now()) const;

  /// In a child: the parent writes the counts.
  void forget() { kinds_.clear(); }

 private:
  struct Kind {
    Clock::time_point since;      ///< the beginning of the period
    std::uint64_t written = 0;    ///< in the period
    std::uint64_t held_back = 0;  ///< in the period
    bool flooded = false;         ///< the period before had more than may be written
    std::string last;             ///< that was held back
  };

  [[nodiscard]] std::string kind_of(const std::string& line) const;

  Write write_;
  std::map<std::string, Kind> kinds_;
};

}  // namespace lamina::server
