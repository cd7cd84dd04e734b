// Lookup and overlay at a million extents, in memory, on one thread.
//
// The budgets are absolute: five million lookups a second, five milliseconds for an overlay. The
// floors tell how far the machine is from them: for a lookup one read at a random place of each
// column, for an overlay one copy of the columns.
#include <fmt/format.h>

#include "base/error.h"
#include "bench.h"
#include "mapping_contenders.h"

namespace lamina::bench {
namespace {

constexpr std::uint32_t kExtents = 1'000'000;
constexpr std::uint32_t kMappingChanges = 1'000;
constexpr std::uint32_t kMappingLookups = 5'000'000;
constexpr double kLookupsPerMs = 5'000;

Status compare_lookups(Bench& bench, MappingContenders& mapping) {
  Comparison comparison;
  comparison.name = "mapping/lookup";
  if (!bench.wants(comparison.name)) return {};
  comparison.what = "5 million random lookups in 1 million extents";
  comparison.floor_is = "one random read of each column per lookup";
  comparison.budget.ours_ms = kMappingLookups / kLookupsPerMs;
  comparison.contenders = mapping.lookups();
  LAMINA_RETURN_IF_ERROR(bench.run(comparison));
  const auto ms = bench.measurements().back().median_ms("ours");
  bench.note(fmt::format("{:.1f} M lookups/s", kMappingLookups / ms.value_or(1) / 1000));
  return {};
}

Status compare_overlays(Bench& bench, MappingContenders& mapping) {
  Comparison comparison;
  comparison.name = "mapping/overlay";
  if (!bench.wants(comparison.name)) return {};
  comparison.what = "1,000 extents laid over 1 million";
  comparison.floor_is = "one copy of the columns into fresh memory";
  comparison.budget.ours_ms = 5;
  comparison.contenders = mapping.overlays();
  return bench.run(comparison);
}

}  // namespace

Status run_mapping(Bench& bench) {
  if (!bench.wants("mapping/lookup") && !bench.wants("mapping/overlay")) return {};
  LAMINA_ASSIGN_OR_RETURN(const auto mapping,
                          MappingContenders::create({kExtents, kMappingLookups, kMappingChanges}));
  LAMINA_RETURN_IF_ERROR(compare_lookups(bench, *mapping));
  return compare_overlays(bench, *mapping);
}

}  // namespace lamina::bench
