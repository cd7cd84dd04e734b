// How a cost grows: one x axis, several contenders, a time per point.
//
// Each point is a comparison of its own, interleaved and in rounds as every other. A contender that
// would take too long (the plain reference, mostly) may leave out points.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lamina/result.h"
#include "measurement.h"

namespace lamina::bench {

class Bench;
struct Comparison;

struct CurvePoint {
  double x = 0;
  Measurement measurement;
};

struct Curve {
  std::string name;      ///< "curve/…"
  std::string what;      ///< what is timed
  std::string floor_is;  ///< what the floor does
  std::string x_label;   ///< with its unit
  std::vector<CurvePoint> points;

  /// Runs `comparison`, which needs only its contenders, as the point at `x`.
  Status add_point(Bench& bench, double x, Comparison comparison);

  /// The slope of a contender's median times between its first and its last point, both axes
  /// logarithmic: 0 where x does not matter, 1 where the time is in proportion to it.
  [[nodiscard]] std::optional<double> slope(const std::string& contender) const;
};

}  // namespace lamina::bench
