// Lookups, an overlay, a header read and written, against the number of extents.
#include <vector>

#include "base/error.h"
#include "bench.h"
#include "mapping_contenders.h"

namespace lamina::bench {
namespace {

constexpr std::uint32_t kMappingCurveLookups = 1'000'000;
constexpr std::uint32_t kMappingCurveChanges = 1'000;
/// The original's mapping takes 100 bytes an extent, and its overlay 130 ms for a million.
constexpr std::uint32_t kPlainExtents = 1'000'000;

/// What the largest results take, twice: fresh memory would be had from a host otherwise.
constexpr std::uint64_t kBytesPerExtent = 64;

using Contenders = std::vector<Contender> (MappingContenders::*)();

struct MappingCurve {
  Curve curve;
  Contenders contenders;
};

std::vector<MappingCurve> mapping_curves() {
  const auto curve = [](const char* name, const char* what, const char* floor_is) {
    return Curve{name, what, floor_is, "extents", {}};
  };
  return {{curve("curve/mapping/lookup", "1 million random lookups",
                 "one random read of each column per lookup"),
           &MappingContenders::lookups},
          {curve("curve/mapping/overlay", "1,000 extents laid over the mapping",
                 "one copy of the columns into fresh memory"),
           &MappingContenders::overlays},
          {curve("curve/header/encode", "the header's bytes made, in memory",
                 "one copy of the bytes into fresh memory"),
           &MappingContenders::encodings},
          {curve("curve/header/decode", "the header's bytes checked and read, in memory",
                 "one copy of the bytes into fresh memory"),
           &MappingContenders::decodings}};
}

}  // namespace

Status run_mapping_curves(Bench& bench) {
  std::vector<std::uint32_t> counts = {1'000, 10'000, 100'000, 1'000'000, 10'000'000};
  if (bench.options().quick) counts.resize(4);
  std::vector<MappingCurve> curves = mapping_curves();
  std::erase_if(curves, [&](const MappingCurve& one) { return !bench.wants(one.curve.name); });
  if (curves.empty()) return {};
  for (const std::uint32_t extents : counts) {
    LAMINA_ASSIGN_OR_RETURN(
        const auto mapping,
        MappingContenders::create(
            {extents, kMappingCurveLookups, kMappingCurveChanges, extents <= kPlainExtents}));
    for (MappingCurve& one : curves) {
      Comparison comparison;
      if (extents >= kPlainExtents) comparison.ballast_bytes = extents * kBytesPerExtent;
      comparison.contenders = ((*mapping).*one.contenders)();
      LAMINA_RETURN_IF_ERROR(one.curve.add_point(bench, extents, comparison));
    }
  }
  for (MappingCurve& one : curves) bench.add(std::move(one.curve));
  return {};
}

}  // namespace lamina::bench
