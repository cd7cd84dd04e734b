#include "curve.h"

#include <fmt/format.h>

#include <cmath>
#include <utility>

#include "base/error.h"
#include "bench.h"

namespace lamina::bench {

Status Curve::add_point(Bench& bench, double x, Comparison comparison) {
  comparison.name = fmt::format("{} at {:g}", name, x);
  comparison.what = what;
  comparison.floor_is = floor_is;
  LAMINA_ASSIGN_OR_RETURN(Measurement measurement, bench.measure(comparison));
  points.push_back({x, std::move(measurement)});
  return {};
}

std::optional<double> Curve::slope(const std::string& contender) const {
  const CurvePoint* first = nullptr;
  const CurvePoint* last = nullptr;
  for (const CurvePoint& point : points) {
    if (!point.measurement.median_ms(contender)) continue;
    if (first == nullptr) first = &point;
    last = &point;
  }
  if (first == last) return std::nullopt;
  const double times =
      *last->measurement.median_ms(contender) / *first->measurement.median_ms(contender);
  return std::log(times) / std::log(last->x / first->x);
}

}  // namespace lamina::bench
