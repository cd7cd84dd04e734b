// The loop that answers faults: where its thread runs, how many events it reads at once, and whom
// it wakes when. And the group of the suspects of page faults.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/error.h"
#include "fault_contenders.h"
#include "suspects_loop.h"

namespace lamina::bench {
namespace {

constexpr std::uint64_t kSeed = 7;
constexpr std::size_t kGuestThreads = 8;

std::vector<std::uint32_t> random_fifth(const BareLayer& layer) {
  std::vector<std::uint32_t> blocks = blocks_shuffled(layer.block_count(), kSeed);
  blocks.resize(blocks.size() / 5);
  return blocks;
}

Status measure_pinning(Bench& bench, const BareLayer& layer) {
  const std::string name = "suspect-pinning";
  if (!bench.wants(name)) return {};
  const CpuPair cpus = usable_cpus();
  if (cpus.first == cpus.last) {
    bench.skip(name, "only one CPU");
    return {};
  }
  const auto touches = random_fifth(layer);
  Comparison comparison = suspect_comparison(
      name,
      "a random fifth touched: nobody pinned (ours), the guest alone, the server on the other CPU, "
      "on the same",
      layer.bytes().size());
  FigureTable figures;
  const auto add = [&](const std::string& contender, int server, int guest) {
    comparison.contenders.push_back(looping(contender, {&layer, &touches, server, guest},
                                            [&figures, contender](const LoopFigures& run) {
                                              figures.add("server's CPU time, ms", contender,
                                                          run.server_cpu_ms);
                                            }));
  };
  add("ours", -1, -1);
  add("guest pinned", -1, cpus.last);
  add("other CPU", cpus.first, cpus.last);
  add("same CPU", cpus.last, cpus.last);
  LAMINA_RETURN_IF_ERROR(bench.run(comparison));
  note_ratios(bench);
  figures.note(bench, "server's CPU time, ms");
  return {};
}

Status measure_event_batch(Bench& bench, const BareLayer& layer) {
  constexpr std::array<std::size_t, 3> kAtOnce = {16, 1, 64};
  const auto touches = random_fifth(layer);
  for (const Placement& placement : placements()) {
    const std::string name = "suspect-event-batch/" + placement.name;
    if (!bench.wants(name)) continue;
    Comparison comparison = suspect_comparison(
        name, "8 threads touch a random fifth: up to 16 events a read (ours), 1, up to 64",
        layer.bytes().size());
    FigureTable figures;
    for (const std::size_t at_once : kAtOnce) {
      const std::string contender =
          at_once == kAtOnce.front() ? "ours" : fmt::format("{} at once", at_once);
      LoopSetting setting{&layer, &touches, placement.server, placement.guest, kGuestThreads};
      setting.waiting.events_at_once = at_once;
      comparison.contenders.push_back(
          looping(contender, setting, [&figures, contender](const LoopFigures& run) {
            figures.add("server's CPU time, ms", contender, run.server_cpu_ms);
            figures.add("events a read", contender,
                        static_cast<double>(run.events) / static_cast<double>(run.batches));
          }));
    }
    LAMINA_RETURN_IF_ERROR(bench.run(comparison));
    note_ratios(bench);
    figures.note(bench, "server's CPU time, ms");
    figures.note(bench, "events a read");
  }
  return {};
}

Status measure_wake(Bench& bench, const BareLayer& layer) {
  const auto touches = random_fifth(layer);
  for (const std::size_t threads : {std::size_t{1}, kGuestThreads}) {
    for (const Placement& placement : placements()) {
      const std::string name = fmt::format("suspect-wake/{}-threads/{}", threads, placement.name);
      if (!bench.wants(name)) continue;
      Comparison comparison = suspect_comparison(
          name,
          "a random fifth touched: each copy wakes (ours); DONTWAKE and one wake for the rest, for "
          "the run, for all rests of a batch",
          layer.bytes().size());
      const auto add = [&](const std::string& contender, Waking waking) {
        LoopSetting setting{&layer, &touches, placement.server, placement.guest, threads};
        setting.waking = waking;
        comparison.contenders.push_back(looping(contender, setting, {}));
      };
      add("ours", Waking::kEachCopy);
      add("wake the rest", Waking::kRest);
      add("wake the run", Waking::kRun);
      add("wake the batch", Waking::kBatch);
      LAMINA_RETURN_IF_ERROR(bench.run(comparison));
      note_ratios(bench);
    }
  }
  return {};
}

}  // namespace

Status run_loop_suspects(Bench& bench, const BareLayer& layer) {
  LAMINA_RETURN_IF_ERROR(measure_pinning(bench, layer));
  LAMINA_RETURN_IF_ERROR(measure_event_batch(bench, layer));
  return measure_wake(bench, layer);
}

}  // namespace lamina::bench
