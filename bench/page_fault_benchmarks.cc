// Page faults of one guest: what one costs, and what it takes until much or all of the memory has
// been touched. The guest reads.
//
// The floor answers the same faults with runs of the same length by bare ioctls, in the same order
// as ours: of data the page that is waited for, then the rest; straight from a mapping, on the same
// CPUs. "one ioctl" fills the run at once, so that the guest waits for all of it. "read" has the
// bytes by a pread into a buffer first: what is between it and ours is the lookup, the checksums
// and the records that survive a crash. "bare 4 KiB" is the floor with one block per fault, "file
// mapping" the kernel alone on a mapping of the materialized file (whose writes would cost a copy
// that a page server's pages have had).
#include "page_fault_benchmarks.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <initializer_list>
#include <map>
#include <utility>

#include "base/error.h"
#include "fault_contenders.h"
#include "measurement.h"
#include "os/machine.h"
#include "snapshot_chain.h"

namespace lamina::bench {
namespace {

constexpr std::uint64_t kFaultSeed = 7;
constexpr std::uint32_t kFaultDiffs = 7;
constexpr std::array<std::uint32_t, 6> kSweep = {1, 4, 16, 64, 128, 512};
constexpr pager::FaultLimits kOneBlock{1, 1};
constexpr std::size_t kCrowdThreads = 8;
/// A touch that takes less did not fault.
constexpr std::uint32_t kLeastFaultNs = 1500;

/// Blocks of data, or of zeros, at random places, apart by more than a window of `window` blocks,
/// so that each touch is one fault.
std::vector<std::uint32_t> lone_blocks(const FaultInput& input, std::uint32_t window,
                                       bool zeros = false) {
  const std::uint32_t apart = window + 4;  // at no fixed place in its window
  std::vector<std::uint32_t> blocks;
  for (const std::uint32_t number : blocks_shuffled(input.block_count() / apart, kFaultSeed)) {
    const std::uint32_t block = number * apart;
    if (input.is_zero(block) == zeros) blocks.push_back(block);
  }
  return blocks;
}

double percentile_ms(std::vector<std::uint32_t>& nanoseconds, double part) {
  constexpr double kNanosecondsPerMillisecond = 1e6;
  const auto rank = static_cast<std::ptrdiff_t>(part * static_cast<double>(nanoseconds.size() - 1));
  std::nth_element(nanoseconds.begin(), nanoseconds.begin() + rank, nanoseconds.end());
  return nanoseconds[static_cast<std::size_t>(rank)] / kNanosecondsPerMillisecond;
}

struct Percentile {
  const char* name = nullptr;
  double part = 0;
  std::optional<double> budget;
};
constexpr std::array<Percentile, 3> kPercentiles = {
    {{"p50", 0.5, 1.3}, {"p99", 0.99, 1.5}, {"p99.9", 0.999, {}}}};

/// Collects each contender's percentiles round by round.
class Latencies {
 public:
  explicit Latencies(std::string what = "one fault at a random place, as the guest sees it",
                     std::uint32_t least_ns = 0)
      : what_(std::move(what)), least_ns_(least_ns) {}

  std::function<void(const TouchingGuest&)> collector(const std::string& contender) {
    order_.push_back(contender);
    return [this, contender](const TouchingGuest& guest) {
      std::vector<std::uint32_t> all(guest.nanoseconds().begin(), guest.nanoseconds().end());
      if (least_ns_ > 0) std::erase_if(all, [&](std::uint32_t one) { return one < least_ns_; });
      if (all.empty()) all.push_back(0);
      for (const Percentile& one : kPercentiles) {
        samples_[{one.name, contender}].push_back(percentile_ms(all, one.part));
      }
    };
  }

  void report(Bench& bench, const std::string& name, bool has_budget) const {
    for (const Percentile& one : kPercentiles) {
      Measurement measurement;
      measurement.name = name + "/" + one.name;
      measurement.what = what_;
      measurement.floor_is =
          "poll, read, UFFDIO_COPY of the page, of what is around it when no fault waits, from a "
          "mapping";
      for (const std::string& contender : order_) {
        measurement.samples.push_back({contender, samples_.at({one.name, contender})});
      }
      bench.add(std::move(measurement));
      if (has_budget && one.budget) note_budget(bench, *one.budget);
    }
  }

 private:
  /// The budget's measure is the plain loop: poll, read, UFFDIO_COPY of the same pages.
  static void note_budget(Bench& bench, double budget) {
    if (const auto ratio = bench.measurements().back().ratio("ours", "one ioctl")) {
      bench.note(fmt::format("ours / one ioctl: {:.3f} (≤{:g}) {}", *ratio, budget,
                             *ratio <= budget ? "met" : "NOT MET"));
    }
  }

  std::string what_;
  std::uint32_t least_ns_;
  std::vector<std::string> order_;
  std::map<std::pair<std::string, std::string>, std::vector<double>> samples_;
};

std::string run_name(std::uint32_t blocks) { return fmt::format("window {}", blocks); }

Comparison comparison_of(const std::string& name, const FaultSetting& setting) {
  Comparison comparison;
  comparison.name = name;
  comparison.what = "from the first touch to the last";
  comparison.floor_is =
      "poll, read, ioctls of the page, of what is around it when no fault waits, from a mapping";
  comparison.ballast_bytes = setting.input->memory().size() + (std::uint64_t{64} << 20);
  return comparison;
}

/// One fault at a time, none near another.
Status measure_latency(Bench& bench, FaultSetting setting, const std::string& name,
                       const std::vector<std::uint32_t>& touches, bool has_budget) {
  if (!bench.wants(name)) return {};
  setting.measure = true;
  setting.touches = &touches;
  Latencies latencies;
  Comparison comparison = comparison_of(name, setting);
  const auto add = [&](const std::string& contender, const ServerMaker& maker) {
    comparison.contenders.push_back(
        touching(contender, setting, maker, latencies.collector(contender)));
  };
  add("plain", plain_server());
  add("ours", session_server());
  add("floor", floor_server());
  add("one ioctl", floor_server({}, FloorSource::kMapping, FloorOrder::kWholeWindow));
  add("read", floor_server({}, FloorSource::kRead));
  LAMINA_RETURN_IF_ERROR(bench.run(comparison));
  bench.note(fmt::format("{} faults a round", touches.size()));
  latencies.report(bench, name, has_budget);
  return {};
}

Status sweep_latency(Bench& bench, FaultSetting setting, const std::string& name,
                     const std::vector<std::uint32_t>& touches) {
  if (!bench.wants(name)) return {};
  setting.measure = true;
  setting.touches = &touches;
  Latencies latencies;
  Comparison comparison = comparison_of(name, setting);
  for (const std::uint32_t blocks : kSweep) {
    comparison.contenders.push_back(touching(run_name(blocks), setting,
                                             session_server({.data_blocks = blocks}),
                                             latencies.collector(run_name(blocks))));
  }
  LAMINA_RETURN_IF_ERROR(bench.run(comparison));
  latencies.report(bench, name, false);
  return {};
}

struct TouchCase {
  const char* name;
  const std::vector<std::uint32_t>& touches;
  bool has_bare_loop;
};

Status measure_touches(Bench& bench, FaultSetting setting, const TouchCase& one) {
  constexpr double kBareBudget = 0.35;
  setting.touches = &one.touches;
  const std::string name = fmt::format("fault/{}/{}", one.name, setting.placement.name);
  if (bench.wants(name)) {
    Comparison comparison = comparison_of(name, setting);
    comparison.contenders = {
        touching("plain", setting, plain_server()), touching("ours", setting, session_server()),
        touching("floor", setting, floor_server()),
        touching("one ioctl", setting,
                 floor_server({}, FloorSource::kMapping, FloorOrder::kWholeWindow)),
        touching_file(setting)};
    if (one.has_bare_loop) {
      comparison.contenders.push_back(touching("bare 4 KiB", setting, floor_server(kOneBlock)));
    }
    LAMINA_RETURN_IF_ERROR(bench.run(comparison));
    if (const auto ratio = bench.measurements().back().ratio("ours", "bare 4 KiB")) {
      bench.note(fmt::format("ours / bare 4 KiB: {:.3f} (≤{:g}) {}", *ratio, kBareBudget,
                             *ratio <= kBareBudget ? "met" : "NOT MET"));
    }
  }
  const std::string sweep_name = fmt::format("fault/sweep/{}/{}", one.name, setting.placement.name);
  if (!bench.wants(sweep_name)) return {};
  Comparison comparison = comparison_of(sweep_name, setting);
  for (const std::uint32_t blocks : kSweep) {
    comparison.contenders.push_back(
        touching(run_name(blocks), setting, session_server({.data_blocks = blocks})));
  }
  return bench.run(comparison);
}

/// Many threads fault at once: what one of them waits while others are served, and the whole time.
Status measure_crowd(Bench& bench, FaultSetting setting, const std::string& name,
                     const std::vector<std::uint32_t>& touches) {
  if (!bench.wants(name)) return {};
  setting.measure = true;
  setting.touches = &touches;
  setting.threads = kCrowdThreads;
  Latencies latencies("one fault of eight threads that touch at once, as the guest sees it",
                      kLeastFaultNs);
  Comparison comparison = comparison_of(name, setting);
  const auto add = [&](const std::string& contender, const ServerMaker& maker) {
    comparison.contenders.push_back(
        touching(contender, setting, maker, latencies.collector(contender)));
  };
  add("plain", plain_server());
  add("ours", session_server());
  add("floor", floor_server());
  add("bare 4 KiB", floor_server(kOneBlock));
  LAMINA_RETURN_IF_ERROR(bench.run(comparison));
  latencies.report(bench, name, false);
  return {};
}

/// The memory in as many parts as there are threads; each reads its own in order.
std::vector<std::uint32_t> blocks_in_parts(std::uint32_t block_count) {
  constexpr auto kParts = static_cast<std::uint32_t>(kCrowdThreads);
  std::vector<std::uint32_t> blocks;
  blocks.reserve(block_count);
  for (std::uint32_t i = 0; i < block_count / kParts * kParts; ++i) {
    blocks.push_back(i % kParts * (block_count / kParts) + i / kParts);
  }
  return blocks;
}

/// True when the filter lets one of a group's benchmarks through, on some CPUs.
bool wants_any(const Bench& bench, const std::string& group,
               std::initializer_list<const char*> names) {
  return std::any_of(names.begin(), names.end(), [&](const char* name) {
    const std::string full = group + "/" + name;
    return bench.wants(full) || bench.wants(full + "/same-cpu") || bench.wants(full + "/other-cpu");
  });
}

}  // namespace

Status run_page_faults(Bench& bench) {
  const bool serves = wants_any(bench, "serve", {"1-vms", "10-vms", "100-vms", "idle-vm"});
  const bool populates = wants_any(bench, "populate", {"chain", "dense", "working-set", "zeros"});
  const bool touches =
      wants_any(bench, "fault", {"latency", "latency-zeros", "fifth", "sequential", "random"}) ||
      wants_any(bench, "fault/crowd", {"readers", "random"}) ||
      wants_any(bench, "fault/sweep", {"latency", "fifth", "sequential", "random"});
  if (!serves && !populates && !touches) return {};
  const os::MachineFacts machine = os::examine_machine();
  if (!machine.userfaultfd) {
    bench.skip("fault", machine.userfaultfd_error);
    return {};
  }
  const std::string directory = bench.directory() + "/faults";
  if (serves) LAMINA_RETURN_IF_ERROR(run_serve(bench, directory + "-serve"));
  if (!populates && !touches) return {};
  LAMINA_ASSIGN_OR_RETURN(const SnapshotChain chain,
                          build_chain(directory, bench.memory_blocks(), kFaultDiffs));
  for (const auto& [build, file] : chain.plain_files) LAMINA_RETURN_IF_ERROR(remove_all(file));
  LAMINA_ASSIGN_OR_RETURN(const auto input,
                          FaultInput::create(chain.youngest, directory + "/materialized"));
  if (touches) LAMINA_RETURN_IF_ERROR(run_touches(bench, *input));
  if (populates) LAMINA_RETURN_IF_ERROR(run_populate(bench, *input, chain.store));
  return remove_all(directory);
}

Status run_touches(Bench& bench, const FaultInput& input) {
  const auto sequential = blocks_in_order(input.block_count());
  const auto random = blocks_shuffled(input.block_count(), kFaultSeed);
  const auto readers = blocks_in_parts(input.block_count());
  const pager::FaultLimits limits;
  const auto data = lone_blocks(input, limits.data_blocks);
  const auto data_far_apart = lone_blocks(input, kSweep.back());
  const auto zeros = lone_blocks(input, limits.zero_blocks, true);
  const std::vector<std::uint32_t> fifth(
      random.begin(), random.begin() + static_cast<std::ptrdiff_t>(random.size() / 5));
  for (const Placement& placement : placements()) {
    const FaultSetting setting{&input, nullptr, placement, false};
    const std::string& at = placement.name;
    LAMINA_RETURN_IF_ERROR(measure_latency(bench, setting, "fault/latency/" + at, data, true));
    LAMINA_RETURN_IF_ERROR(
        measure_latency(bench, setting, "fault/latency-zeros/" + at, zeros, false));
    LAMINA_RETURN_IF_ERROR(
        sweep_latency(bench, setting, "fault/sweep/latency/" + at, data_far_apart));
    for (const TouchCase& one :
         {TouchCase{"fifth", fifth, true}, TouchCase{"sequential", sequential, false},
          TouchCase{"random", random, false}}) {
      LAMINA_RETURN_IF_ERROR(measure_touches(bench, setting, one));
    }
    LAMINA_RETURN_IF_ERROR(measure_crowd(bench, setting, "fault/crowd/readers/" + at, readers));
    LAMINA_RETURN_IF_ERROR(measure_crowd(bench, setting, "fault/crowd/random/" + at, random));
  }
  return {};
}

}  // namespace lamina::bench
