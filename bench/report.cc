#include "report.h"

#include <fmt/format.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "lamina/version.h"

namespace lamina::bench {
namespace {

using nlohmann::json;

constexpr double kGiga = 1e9;

std::string number(const std::optional<double>& value) {
  if (!value) return "-";
  if (*value < 0.1) return fmt::format("{:.4f}", *value);  // NOLINT: microseconds
  return *value < 10 ? fmt::format("{:.2f}", *value) : fmt::format("{:.1f}", *value);
}

std::string size(std::uint64_t bytes) {
  constexpr double kKibi = 1 << 10;
  constexpr double kMebi = 1 << 20;
  const auto value = static_cast<double>(bytes);
  return value < kMebi ? fmt::format("{:.1f} KiB", value / kKibi)
                       : fmt::format("{:.1f} MiB", value / kMebi);
}

std::string ratio_with_budget(const std::optional<double>& ratio, const char* sign,
                              const std::optional<double>& budget) {
  if (!ratio) return "-";
  return budget ? fmt::format("{} ({}{:g})", number(ratio), sign, *budget) : number(ratio);
}

std::string range(const std::optional<Spread>& spread) {
  if (!spread) return "-";
  return fmt::format("{} to {}", number(spread->minimum), number(spread->maximum));
}

std::string verdict(const std::optional<bool>& met) {
  if (!met) return "";
  return *met ? "met" : "NOT MET";
}

std::string rate(const Measurement& measurement, const std::string& contender) {
  const auto ms = measurement.median_ms(contender);
  if (!ms || measurement.bytes == 0) return "";
  return fmt::format(" ({:.1f} GB/s)",
                     static_cast<double>(measurement.bytes) / kGiga / (*ms / 1000));
}

void print_details(const Measurement& measurement) {
  const bool has_floor = !measurement.floor_is.empty();
  if (!has_floor) {
    fmt::print("    {}\n", measurement.what);
  } else {
    fmt::print("    {}; floor: {}\n", measurement.what, measurement.floor_is);
    fmt::print("    ours/floor: {}; plain/ours: {}\n", range(measurement.ratios("ours", "floor")),
               range(measurement.ratios("plain", "ours")));
  }
  if (measurement.budget.ours_ms) {
    fmt::print("    budget: {:g} ms\n", *measurement.budget.ours_ms);
  }
  if (measurement.bytes != 0 && !has_floor) {
    fmt::print("    ours:{}\n", rate(measurement, "ours"));
  } else if (measurement.bytes != 0) {
    fmt::print("    rates: plain{} ours{} floor{}\n", rate(measurement, "plain"),
               rate(measurement, "ours"), rate(measurement, "floor"));
  }
  for (const Samples& other : measurement.samples) {
    if (other.contender == "plain" || other.contender == "ours" || other.contender == "floor") {
      continue;
    }
    fmt::print("    {}: {} ms{}", other.contender, number(measurement.median_ms(other.contender)),
               rate(measurement, other.contender));
    if (!has_floor) {
      fmt::print("; {} of ours ({})", number(measurement.ratio(other.contender, "ours")),
                 range(measurement.ratios(other.contender, "ours")));
    }
    fmt::print("\n");
  }
  for (const std::string& note : measurement.notes) fmt::print("    {}\n", note);
}

json to_json(const std::optional<double>& value) { return value ? json(*value) : json(); }

json to_json(const std::optional<Spread>& spread) {
  if (!spread) return {};
  return {{"min", spread->minimum}, {"median", spread->median}, {"max", spread->maximum}};
}

json to_json(const Budget& budget) {
  return {{"ours_over_floor", to_json(budget.ours_over_floor)},
          {"plain_over_ours", to_json(budget.plain_over_ours)},
          {"ours_ms", to_json(budget.ours_ms)}};
}

json to_json(const Measurement& measurement) {
  json samples = json::object();
  json times = json::object();
  for (const Samples& one : measurement.samples) {
    samples[one.contender] = one.milliseconds;
    times[one.contender] = to_json(measurement.times_ms(one.contender));
  }
  const auto met = measurement.is_met();
  return {{"name", measurement.name},
          {"what", measurement.what},
          {"floor_is", measurement.floor_is},
          {"bytes", measurement.bytes},
          {"samples_ms", samples},
          {"times_ms", times},
          {"ours_over_floor", to_json(measurement.ratios("ours", "floor"))},
          {"plain_over_ours", to_json(measurement.ratios("plain", "ours"))},
          {"budget", to_json(measurement.budget)},
          {"met", met ? json(*met) : json()},
          {"notes", measurement.notes}};
}

void print_curve(const Curve& curve) {
  fmt::print("{}: {}; floor: {}\n", curve.name, curve.what, curve.floor_is);
  if (curve.points.empty()) return;
  fmt::print("    {:>24}", curve.x_label);
  const auto& contenders = curve.points.front().measurement.samples;
  for (const Samples& one : contenders) fmt::print(" {:>12}", one.contender + " ms");
  fmt::print(" {:>12} {:>12}\n", "ours/floor", "plain/ours");
  for (const CurvePoint& point : curve.points) {
    fmt::print("    {:>24g}", point.x);
    for (const Samples& one : contenders) {
      fmt::print(" {:>12}", number(point.measurement.median_ms(one.contender)));
    }
    fmt::print(" {:>12} {:>12}\n", number(point.measurement.ratio("ours", "floor")),
               number(point.measurement.ratio("plain", "ours")));
  }
  fmt::print("    {:>24}", "slope");
  for (const Samples& one : contenders) fmt::print(" {:>12}", number(curve.slope(one.contender)));
  fmt::print("\n");
}

json to_json(const Curve& curve) {
  json points = json::array();
  json slopes = json::object();
  for (const CurvePoint& point : curve.points) {
    json one = to_json(point.measurement);
    one["x"] = point.x;
    points.push_back(std::move(one));
  }
  for (const char* contender : {"plain", "ours", "floor"}) {
    slopes[contender] = to_json(curve.slope(contender));
  }
  return {{"name", curve.name},       {"what", curve.what}, {"floor_is", curve.floor_is},
          {"x_label", curve.x_label}, {"points", points},   {"slopes", slopes}};
}

}  // namespace

void print_table(const Bench& bench, const MachineFacts& machine) {
  fmt::print("lamina {} on {}, {} x {}, {}; medians of {} rounds{}\n\n", lamina::version(),
             machine.kernel, machine.cpu_count, machine.cpu, machine.file_system, bench.rounds(),
             bench.options().quick ? ", quick" : "");
  fmt::print("{:<28} {:>10} {:>10} {:>10} {:>15} {:>15}\n", "name", "plain ms", "ours ms",
             "floor ms", "ours/floor", "plain/ours");
  for (const Measurement& one : bench.measurements()) {
    fmt::print("{:<28} {:>10} {:>10} {:>10} {:>15} {:>15} {}\n", one.name,
               number(one.median_ms("plain")), number(one.median_ms("ours")),
               number(one.median_ms("floor")),
               ratio_with_budget(one.ratio("ours", "floor"), "≤", one.budget.ours_over_floor),
               ratio_with_budget(one.ratio("plain", "ours"), "≥", one.budget.plain_over_ours),
               verdict(one.is_met()));
    print_details(one);
  }
  for (const MemoryMeasurement& one : bench.memory()) {
    const std::string budget =
        one.budget_bytes ? fmt::format(" (≤{})", size(*one.budget_bytes)) : std::string();
    fmt::print("{:<28} {} {} for {} {}{} {}\n", one.name, one.what, size(one.peak_growth_bytes),
               one.stored_blocks, one.of, budget, verdict(one.is_met()));
  }
  for (const Curve& one : bench.curves()) print_curve(one);
  for (const Skipped& one : bench.skipped()) {
    fmt::print("{:<28} skipped: {}\n", one.name, one.why);
  }
}

Status write_json(const Bench& bench, const MachineFacts& machine, const std::string& path) {
  json results = json::array();
  for (const Measurement& one : bench.measurements()) results.push_back(to_json(one));
  json memory = json::array();
  for (const MemoryMeasurement& one : bench.memory()) {
    const auto met = one.is_met();
    memory.push_back({{"name", one.name},
                      {"what", one.what},
                      {"peak_growth_bytes", one.peak_growth_bytes},
                      {"stored_blocks", one.stored_blocks},
                      {"budget_bytes", one.budget_bytes ? json(*one.budget_bytes) : json()},
                      {"met", met ? json(*met) : json()}});
  }
  json curves = json::array();
  for (const Curve& one : bench.curves()) curves.push_back(to_json(one));
  json skipped = json::array();
  for (const Skipped& one : bench.skipped()) {
    skipped.push_back({{"name", one.name}, {"why", one.why}});
  }
  const json all = {{"version", lamina::version()},
                    {"quick", bench.options().quick},
                    {"rounds", bench.rounds()},
                    {"ballast", !bench.options().no_ballast},
                    {"memory_bytes", bench.memory_bytes()},
                    {"machine",
                     {{"kernel", machine.kernel},
                      {"cpu", machine.cpu},
                      {"cpus", machine.cpu_count},
                      {"file_system", machine.file_system}}},
                    {"results", results},
                    {"memory", memory},
                    {"curves", curves},
                    {"skipped", skipped}};
  std::ofstream file(path);
  file << all.dump(2) << "\n";
  if (!file.flush()) return fail(ErrorKind::kFailed, "'{}' could not be written", path);
  return {};
}

}  // namespace lamina::bench
