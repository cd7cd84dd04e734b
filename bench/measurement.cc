#include "measurement.h"

#include <algorithm>

namespace lamina::bench {

Spread spread_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  const double median =
      values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
  return {values.front(), median, values.back()};
}

const Samples* Measurement::find(const std::string& contender) const {
  for (const Samples& one : samples) {
    if (one.contender == contender && !one.milliseconds.empty()) return &one;
  }
  return nullptr;
}

std::optional<Spread> Measurement::times_ms(const std::string& contender) const {
  const Samples* found = find(contender);
  if (found == nullptr) return std::nullopt;
  return spread_of(found->milliseconds);
}

std::optional<double> Measurement::median_ms(const std::string& contender) const {
  const auto times = times_ms(contender);
  if (!times) return std::nullopt;
  return times->median;
}

std::optional<Spread> Measurement::ratios(const std::string& over, const std::string& under) const {
  const Samples* dividend = find(over);
  const Samples* divisor = find(under);
  if (dividend == nullptr || divisor == nullptr) return std::nullopt;
  const std::size_t rounds = std::min(dividend->milliseconds.size(), divisor->milliseconds.size());
  std::vector<double> ratios;
  for (std::size_t i = 0; i < rounds; ++i) {
    ratios.push_back(dividend->milliseconds[i] / std::max(divisor->milliseconds[i], 1e-6));
  }
  return spread_of(std::move(ratios));
}

std::optional<double> Measurement::ratio(const std::string& over, const std::string& under) const {
  const auto all = ratios(over, under);
  if (!all) return std::nullopt;
  return all->median;
}

std::optional<bool> Measurement::is_met() const {
  std::optional<bool> met;
  const auto add = [&](bool part) { met = met.value_or(true) && part; };
  const auto floor_ratio = ratio("ours", "floor");
  if (budget.ours_over_floor && floor_ratio) add(*floor_ratio <= *budget.ours_over_floor);
  const auto plain_ratio = ratio("plain", "ours");
  if (budget.plain_over_ours && plain_ratio) add(*plain_ratio >= *budget.plain_over_ours);
  const auto ours = median_ms("ours");
  if (budget.ours_ms && ours) add(*ours <= *budget.ours_ms);
  return met;
}

}  // namespace lamina::bench
