#include "fleet/plan.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace lamina::bench::fleet {
namespace {

using mapping::unit;

constexpr double kFromTemplate = 0.7;
constexpr double kFromSandbox = 0.2;  // the rest boots
constexpr double kDies = 0.6;         // before the day ends

/// The normal deviate of a quantile, by bisection.
double deviate(double quantile) {
  double low = -8;
  double high = 8;
  for (int step = 0; step < 60; ++step) {
    const double middle = std::midpoint(low, high);
    (std::erfc(-middle / std::sqrt(2.0)) / 2 < quantile ? low : high) = middle;
  }
  return low;
}

void plan_life(const Sandbox& sandbox, std::uint32_t index, Random& random,
               std::vector<Event>& events) {
  const double birth = 0.5 * unit(random);
  const double end = birth + (1 - birth) * (0.2 + 0.8 * unit(random));
  events.push_back({birth, index, Deed::kBirth});
  for (std::uint32_t pause = 0; pause < sandbox.pauses; ++pause) {
    events.push_back({birth + (end - birth) * unit(random), index, Deed::kPause});
  }
  if (unit(random) < kDies) events.push_back({end, index, Deed::kDeath});
}

}  // namespace

std::uint32_t generations_at(double quantile, std::uint32_t most) {
  const double half = std::log(5.0);
  const double at_ninety = std::log(191.0);
  const double at_ninety_nine = std::log(2314.0);
  const double at = deviate(quantile);
  const double ninety = deviate(0.9);
  const double ninety_nine = deviate(0.99);
  const double log = at < ninety ? half + (at_ninety - half) * at / ninety
                                 : at_ninety + (at_ninety_nine - at_ninety) * (at - ninety) /
                                                   (ninety_nine - ninety);
  return static_cast<std::uint32_t>(std::clamp<double>(std::round(std::exp(log)), 1, most));
}

std::vector<Family> plan_day(std::size_t count, std::size_t families,
                             std::uint32_t most_generations, std::uint64_t seed) {
  Random random(seed);
  std::vector<std::size_t> ranks(count);
  std::iota(ranks.begin(), ranks.end(), std::size_t{0});
  std::shuffle(ranks.begin(), ranks.end(), random);
  std::vector<Family> plan(families);
  for (Family& family : plan) family.seed = random();
  for (std::size_t i = 0; i < count; ++i) {
    Sandbox sandbox;
    const double kind = unit(random);
    sandbox.birth = kind < kFromTemplate                  ? Birth::kFromTemplate
                    : kind < kFromTemplate + kFromSandbox ? Birth::kFromSandbox
                                                          : Birth::kBooted;
    sandbox.shape = &mapping::kSandboxShapes[random() % mapping::kSandboxShapes.size()];
    const double quantile = (static_cast<double>(ranks[i]) + 0.5) / static_cast<double>(count);
    sandbox.pauses = generations_at(quantile, most_generations);
    Family& family = plan[i % families];
    const auto index = static_cast<std::uint32_t>(family.sandboxes.size());
    family.sandboxes.push_back(sandbox);
    plan_life(sandbox, index, random, family.events);
  }
  for (Family& family : plan) {
    std::stable_sort(family.events.begin(), family.events.end(),
                     [](const Event& a, const Event& b) { return a.time < b.time; });
  }
  return plan;
}

}  // namespace lamina::bench::fleet
