// What was measured, and how it compares with the budget.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace lamina::bench {

/// The times of one contender, one per round, in milliseconds.
struct Samples {
  std::string contender;
  std::vector<double> milliseconds;
};

/// Of the values of several rounds.
struct Spread {
  double minimum = 0;
  double median = 0;
  double maximum = 0;
};

/// Ratios (and, where nothing is compared, times) that an operation should reach. Nothing fails
/// when it does not: the table says NOT MET.
struct Budget {
  std::optional<double> ours_over_floor;  ///< at most
  std::optional<double> plain_over_ours;  ///< at least
  std::optional<double> ours_ms;          ///< at most
};

/// One benchmark's result.
struct Measurement {
  std::string name;
  std::string what;      ///< what is timed
  std::string floor_is;  ///< what the floor does
  Budget budget;
  std::vector<Samples> samples;  ///< "plain", "ours", "floor", then any others
  std::uint64_t bytes = 0;       ///< that one run goes through; 0: a rate means nothing
  std::vector<std::string> notes;

  [[nodiscard]] const Samples* find(const std::string& contender) const;
  /// The times of a contender, or nothing when there is no such contender.
  [[nodiscard]] std::optional<Spread> times_ms(const std::string& contender) const;
  [[nodiscard]] std::optional<double> median_ms(const std::string& contender) const;
  /// One contender's time divided by the other's in the same round, over the rounds: what slows the
  /// whole machine down for a round falls out.
  [[nodiscard]] std::optional<Spread> ratios(const std::string& over,
                                             const std::string& under) const;
  /// The median of ratios().
  [[nodiscard]] std::optional<double> ratio(const std::string& over,
                                            const std::string& under) const;
  /// True when every part of the budget is met; nothing when there is no budget.
  [[nodiscard]] std::optional<bool> is_met() const;
};

/// Memory that an operation needs, or leaves in use.
struct MemoryMeasurement {
  std::string name;
  std::uint64_t peak_growth_bytes = 0;  ///< of the resident set, above what it was before
  std::uint64_t stored_blocks = 0;
  std::optional<std::uint64_t> budget_bytes;
  std::string what = "peak growth";
  std::string of = "stored blocks";

  [[nodiscard]] std::optional<bool> is_met() const {
    if (!budget_bytes) return std::nullopt;
    return peak_growth_bytes <= *budget_bytes;
  }
};

/// REQUIRES: values is not empty.
Spread spread_of(std::vector<double> values);

}  // namespace lamina::bench
