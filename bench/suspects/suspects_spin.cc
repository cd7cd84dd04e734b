// Sleeping in poll at once, as ours, beside reading the userfaultfd again and again for a while
// before. A guest that faults without a break has the next fault come while its server spins; one
// that computes in between shows what spinning costs for nothing.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/error.h"
#include "fault_contenders.h"
#include "suspects_loop.h"

namespace lamina::bench {
namespace {

constexpr std::uint64_t kSeed = 7;
constexpr std::size_t kTouches = 2000;
constexpr std::uint32_t kApart = 20;  // more than a run: each touch is a fault
constexpr std::array<std::uint32_t, 5> kSpinMicroseconds = {0, 5, 20, 50, 200};
constexpr std::uint32_t kNsPerMicrosecond = 1000;

struct Guest {
  const char* name;
  std::uint32_t think_ns;
};
constexpr std::array<Guest, 2> kGuests = {{{"busy", 0}, {"thinking", 100 * kNsPerMicrosecond}}};

struct Percentile {
  const char* name;
  double part;
};
constexpr std::array<Percentile, 2> kPercentiles = {{{"p50", 0.5}, {"p99", 0.99}}};

double percentile_ms(std::vector<std::uint32_t>& nanoseconds, double part) {
  constexpr double kNsPerMs = 1e6;
  const auto rank = static_cast<std::ptrdiff_t>(part * static_cast<double>(nanoseconds.size() - 1));
  std::nth_element(nanoseconds.begin(), nanoseconds.begin() + rank, nanoseconds.end());
  return nanoseconds[static_cast<std::size_t>(rank)] / kNsPerMs;
}

std::vector<std::uint32_t> lone_blocks(const BareLayer& layer) {
  std::vector<std::uint32_t> blocks = blocks_shuffled(layer.block_count() / kApart, kSeed);
  blocks.resize(std::min(blocks.size(), kTouches));
  for (std::uint32_t& block : blocks) block *= kApart;
  return blocks;
}

}  // namespace

Status run_spin_suspects(Bench& bench, const BareLayer& layer) {
  const std::vector<std::uint32_t> touches = lone_blocks(layer);
  for (const Placement& placement : placements()) {
    for (const Guest& guest : kGuests) {
      const std::string name = fmt::format("suspect-spin/{}/{}", guest.name, placement.name);
      if (!bench.wants(name)) continue;
      const std::string what = fmt::format(
          "{} faults at random, {} us of the guest's own between: poll at once (ours), or spinning "
          "on reads before",
          touches.size(), guest.think_ns / kNsPerMicrosecond);
      Comparison comparison = suspect_comparison(name, what, layer.bytes().size());
      FigureTable figures;
      for (const std::uint32_t spin : kSpinMicroseconds) {
        const std::string contender = spin == 0 ? "ours" : fmt::format("spin {} us", spin);
        LoopSetting setting{&layer, &touches, placement.server, placement.guest};
        setting.measure = true;
        setting.think_ns = guest.think_ns;
        setting.waiting.spin_ns = std::uint64_t{spin} * kNsPerMicrosecond;
        comparison.contenders.push_back(
            looping(contender, setting, [&figures, contender](const LoopFigures& run) {
              std::vector<std::uint32_t> all(run.nanoseconds.begin(), run.nanoseconds.end());
              for (const Percentile& one : kPercentiles) {
                figures.add(one.name, contender, percentile_ms(all, one.part));
              }
              figures.add("server's CPU time, ms", contender, run.server_cpu_ms);
            }));
      }
      LAMINA_RETURN_IF_ERROR(bench.run(comparison));
      note_ratios(bench);
      figures.note(bench, "server's CPU time, ms");
      for (const Percentile& one : kPercentiles) {
        figures.report_times(bench, name, "one fault, as the guest sees it", one.name);
      }
    }
  }
  return {};
}

}  // namespace lamina::bench
