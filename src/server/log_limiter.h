// A log that peers cannot flood: of lines that are alike a few are written, and then how many more
// there were.
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
  /// So often the count is written; a kind that was silent for so long is new again.
  static constexpr std::chrono::seconds kPeriod{60};
  /// More kinds than these count as one.
  static constexpr std::size_t kMaxKinds = 64;

  /// `write` may be empty.
  explicit LogLimiter(Write write) : write_(std::move(write)) {}

  /// Writes the line, or counts it. Lines are of one kind when they differ in numbers and in what
  /// stands in quotation marks only.
  void say(const std::string& line, Clock::time_point now = Clock::now());

  /// Writes the counts whose time it is.
  void write_counts(Clock::time_point now = Clock::now());

  /// Milliseconds until write_counts() has something to do; -1: nothing was only counted.
  [[nodiscard]] int due_ms(Clock::time_point now = Clock::now()) const;

  /// In a child: what was only counted is the parent's to write.
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
