// The harness: runs contenders side by side and collects what they took.
//
// A benchmark is a Comparison of contenders on the same input: "plain" (the original program's
// algorithm, plain_reference.h), "ours" (lamina through its public interface, with every sync that
// it does in production) and "floor" (the bare kernel work that cannot be avoided). They take turns
// within a round, each round starting with another one, so that a machine that is slower for a
// while is slower for all of them; ratios are taken within a round.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "curve.h"
#include "guest_memory.h"
#include "lamina/result.h"
#include "measurement.h"

namespace lamina::bench {

struct Options {
  std::string filter;  ///< part of a benchmark's name; empty: all
  std::string json;    ///< file to write; empty: none
  std::string directory = ".";
  std::string guest;  ///< memory files of a real guest (recorded_guest.h); empty: none
  bool quick = false;
  bool curves = false;  ///< the curves instead of the benchmarks
  bool no_ballast = false;
  unsigned repeat = 0;  ///< 0: five rounds, three when quick and for curves
};

/// One way to do the work. Only `run` is timed, and only `run` must be set.
struct Contender {
  std::string name;
  std::function<Status()> prepare;  ///< before each run
  std::function<Status()> run;
  std::function<Status()> check;  ///< after the first run: is the result what it must be?
  std::function<Status()> clear;  ///< after each run
};

struct Comparison {
  std::string name;
  std::string what;
  std::string floor_is;
  Budget budget;
  std::vector<Contender> contenders;
  std::uint64_t bytes = 0;
  std::uint64_t ballast_bytes = 0;  ///< touched and freed before each timed part
};

struct Skipped {
  std::string name;
  std::string why;
};

class Bench {
 public:
  /// Makes a directory of its own below options.directory, which goes with this object.
  static Result<Bench> create(const Options& options);

  Bench(Bench&& other) noexcept;
  Bench& operator=(Bench&&) = delete;
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;
  ~Bench();

  [[nodiscard]] const Options& options() const { return options_; }
  /// The directory for inputs and stores; empties itself at the end.
  [[nodiscard]] const std::string& directory() const { return directory_; }
  /// Memory of the guest that most benchmarks use.
  [[nodiscard]] std::uint64_t memory_bytes() const {
    return options_.quick ? std::uint64_t{256} << 20 : std::uint64_t{1} << 30;
  }
  [[nodiscard]] std::uint32_t memory_blocks() const {
    return static_cast<std::uint32_t>(memory_bytes() / 4096);
  }
  [[nodiscard]] unsigned rounds() const;
  /// True when the filter lets a benchmark of this name through.
  [[nodiscard]] bool wants(const std::string& name) const;

  /// Runs without keeping the result. An error is as below.
  Result<Measurement> measure(const Comparison& comparison);
  /// Runs and keeps the result. An error says that something could not run or was wrong.
  Status run(const Comparison& comparison);
  /// Keeps what a benchmark has put together by itself.
  void add(Measurement measurement) { measurements_.push_back(std::move(measurement)); }
  void add(MemoryMeasurement measurement) { memory_.push_back(std::move(measurement)); }
  void add(Curve curve) { curves_.push_back(std::move(curve)); }
  /// Notes that a benchmark was not run here, on the error stream as well.
  void skip(const std::string& name, const std::string& why);
  void note(const std::string& text) { measurements_.back().notes.push_back(text); }

  [[nodiscard]] const std::vector<Measurement>& measurements() const { return measurements_; }
  [[nodiscard]] const std::vector<MemoryMeasurement>& memory() const { return memory_; }
  [[nodiscard]] const std::vector<Curve>& curves() const { return curves_; }
  [[nodiscard]] const std::vector<Skipped>& skipped() const { return skipped_; }

 private:
  Bench(Options options, std::string directory)
      : options_(std::move(options)), directory_(std::move(directory)) {}

  Status run_contender(const Comparison& comparison, const Contender& contender, bool first,
                       std::vector<double>& milliseconds);

  Options options_;
  std::string directory_;
  std::vector<Measurement> measurements_;
  std::vector<MemoryMeasurement> memory_;
  std::vector<Curve> curves_;
  std::vector<Skipped> skipped_;
};

/// The benchmarks, one function for each group; each asks the filter itself.
Status run_ingest_full(Bench& bench);
Status run_ingest_diff(Bench& bench);
Status run_chain(Bench& bench);
Status run_mapping(Bench& bench);
Status run_headers(Bench& bench);
Status run_scan(Bench& bench);
Status run_memory_use(Bench& bench);
Status run_page_cache(Bench& bench);
Status run_page_faults(Bench& bench);
Status run_recorded(Bench& bench);
#ifdef LAMINA_HAVE_PACKED
Status run_pack(Bench& bench);
#endif

/// The curves, likewise.
Status run_mapping_curves(Bench& bench);
Status run_ingest_curves(Bench& bench);
Status run_chain_curves(Bench& bench);
Status run_merge_curves(Bench& bench);
Status run_fault_curves(Bench& bench);

/// Set by a signal handler: the run ends before the next contender, with its directory removed.
void request_stop();

/// Removes a file or a directory with all that is in it; what is not there is no error.
Status remove_all(const std::string& path);

}  // namespace lamina::bench
