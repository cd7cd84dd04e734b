// Contenders of the suspects of page faults: a fresh guest for each run, served from a BareLayer by
// a bare loop that does as the product does. What is not as there is what a suspect is about.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "bench.h"
#include "suspects_guest.h"
#include "suspects_layer.h"

namespace lamina::bench {

/// Who is woken when.
enum class Waking : std::uint8_t {
  kEachCopy,  ///< by each copy, as ours
  kRest,      ///< by the copy of the page; the rest is copied with DONTWAKE, then woken at once
  kRun,       ///< both are copied with DONTWAKE, then the run is woken at once
  kBatch,     ///< as kRest, but all rests of a batch of events are woken by one ioctl
};

struct LoopSetting {
  const BareLayer* layer = nullptr;
  const std::vector<std::uint32_t>* touches = nullptr;
  int server_cpu = -1;  ///< -1: not pinned
  int guest_cpu = -1;
  std::size_t threads = 1;
  bool measure = false;
  std::uint32_t think_ns = 0;
  Waiting waiting{};
  Waking waking = Waking::kEachCopy;
};

/// What one run of a contender has come to.
struct LoopFigures {
  double server_cpu_ms = 0;
  std::uint64_t batches = 0;
  std::uint64_t events = 0;
  std::span<const std::uint32_t> nanoseconds;  ///< of each touch, where they were measured
};

/// From the guest's first touch to its last; the words that it read are checked in every run, all
/// that it touched after the first. `after` sees the figures of each run.
Contender looping(const std::string& name, const LoopSetting& setting,
                  std::function<void(const LoopFigures&)> after);

/// Keeps figures of contenders by name, in the order in which they came first.
class FigureTable {
 public:
  void add(const std::string& figure, const std::string& contender, double value);
  /// Adds a measurement "name/figure" for a figure that is a time in milliseconds.
  void report_times(Bench& bench, const std::string& name, const std::string& what,
                    const std::string& figure) const;
  /// "figure: contender 1.5, other 3.2" of medians, as a note.
  void note(Bench& bench, const std::string& figure) const;

 private:
  using Row = std::vector<Samples>;
  [[nodiscard]] const Row* find(const std::string& figure) const;
  std::vector<std::pair<std::string, Row>> rows_;
};

/// For each contender but "ours": its time / ours, median and range over the rounds, as a note.
void note_ratios(Bench& bench);

/// A comparison with ballast, as the benchmarks of page faults have.
Comparison suspect_comparison(const std::string& name, const std::string& what,
                              std::uint64_t bytes);

/// The suspects of page faults; each asks the filter itself.
Status run_spin_suspects(Bench& bench, const BareLayer& layer);
Status run_loop_suspects(Bench& bench, const BareLayer& layer);
Status run_zeropage_suspects(Bench& bench, const BareLayer& layer);
Status run_populate_suspects(Bench& bench, const BareLayer& layer);
Status run_populate_product_suspects(Bench& bench, const BareLayer& layer);
Status run_move_suspects(Bench& bench, const BareLayer& layer);
Status run_dirty_suspects(Bench& bench, const BareLayer& layer);

}  // namespace lamina::bench
