// fleet: a day of many sandboxes in one real store. Prints what it cost as one line of JSON; the
// exit code is 0 unless something could not be done or gave wrong data. tools/bench-fleet runs it
// for several policies.
#include <fmt/format.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <memory>
#include <numeric>
#include <optional>
#include <set>
#include <thread>

#include <sys/stat.h>

#include "base/error.h"
#include "fleet/family_life.h"
#include "fleet/plan.h"

namespace lamina::bench::fleet {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string directory = ".";
  std::string policy = kDefaultMergePolicy;
  std::size_t sandboxes = 1000;
  std::size_t families = 20;
  std::uint32_t memory_mib = 16;
  std::uint32_t most_generations = 5000;
  std::uint64_t seed = 1;
  std::size_t threads = 4;
  std::size_t looks = 12;  // at the space, in the day
  bool verify_resumes = false;
  bool keep = false;
};

/// The space of a moment.
struct Space {
  std::uint64_t allocated_bytes = 0;  ///< by all files of the store, each once
  std::uint64_t needed_bytes = 0;     ///< by the different pages of all snapshots
};

std::uint64_t allocated_below(const std::string& directory) {
  std::set<ino_t> seen;
  std::uint64_t bytes = 0;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(directory)) {
    struct stat facts = {};
    if (lstat(entry.path().c_str(), &facts) != 0 || !seen.insert(facts.st_ino).second) continue;
    bytes += static_cast<std::uint64_t>(facts.st_blocks) * 512;
  }
  return bytes;
}

/// What this process made the kernel write to a disk.
std::uint64_t written_to_disk() {
  std::ifstream io("/proc/self/io");
  std::string name;
  std::uint64_t value = 0;
  while (io >> name >> value) {
    if (name == "write_bytes:") return value;
  }
  return 0;
}

template <class T>
T percentile(std::vector<T> values, double share) {
  if (values.empty()) return {};
  const auto rank = std::ceil(static_cast<double>(values.size()) * share);
  const auto at = static_cast<std::size_t>(std::max(rank, 1.0)) - 1;
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(at), values.end());
  return values[at];
}

class Day {
 public:
  Day(const Options& options, Store store, std::string files)
      : options_(options),
        store_(std::move(store)),
        setting_{std::move(files), options.policy, options.memory_mib * 256,
                 options.verify_resumes},
        plan_(
            plan_day(options.sandboxes, options.families, options.most_generations, options.seed)) {
    for (std::size_t i = 0; i < plan_.size(); ++i) {
      families_.push_back(std::make_unique<FamilyLife>(store_, setting_, plan_[i], i));
    }
  }

  Status run() {
    LAMINA_RETURN_IF_ERROR(for_all([](FamilyLife& family) { return family.begin(); }));
    for (std::size_t look = 1; look <= options_.looks; ++look) {
      const double time = static_cast<double>(look) / static_cast<double>(options_.looks);
      LAMINA_RETURN_IF_ERROR(for_all([&](FamilyLife& family) { return family.live_until(time); }));
      spaces_.push_back(look_at_space());
    }
    return for_all([](FamilyLife& family) { return family.check(); });
  }

  void print(double seconds, std::uint64_t disk_bytes) const {
    Cost all;
    std::size_t living = 0;
    for (const auto& family : families_) {
      all.add(family->cost());
      living += family->living();
    }
    double sum_of_ratios = 0;
    double most = 0;
    std::uint64_t most_bytes = 0;
    for (const Space& space : spaces_) {
      const double ratio = static_cast<double>(space.allocated_bytes) /
                           static_cast<double>(std::max<std::uint64_t>(space.needed_bytes, 1));
      sum_of_ratios += ratio;
      most = std::max(most, ratio);
      most_bytes = std::max(most_bytes, space.allocated_bytes);
    }
    const double layers = static_cast<double>(
        std::accumulate(all.layers.begin(), all.layers.end(), std::uint64_t{0}));
    struct rusage use = {};
    getrusage(RUSAGE_SELF, &use);
    const auto in_seconds = [](const timeval& time) {
      return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
    };
    fmt::print(
        R"({{"policy":"{}","seed":{},"sandboxes":{},"memory_mib":{},"threads":{},"seconds":{:.1f},)"
        R"("cpu_seconds":{:.1f},"peak_rss_bytes":{},"snapshots_at_end":{},"snapshots_checked":{},)"
        R"("pauses":{},"merges":{},"forks":{},"removals":{},"dirtied_bytes":{},"layer_bytes":{},)"
        R"("header_bytes":{},"merged_bytes":{},"disk_bytes":{},"most_allocated_bytes":{},)"
        R"("last_allocated_bytes":{},"last_needed_bytes":{},"space_mean":{:.3f},"space_most":{:.3f},)"
        R"("layers_mean":{:.2f},"layers_p99":{},"layers_most":{},{},{},{},{},{}}})"
        "\n",
        options_.policy, options_.seed, options_.sandboxes, options_.memory_mib, options_.threads,
        seconds, in_seconds(use.ru_utime) + in_seconds(use.ru_stime),
        static_cast<std::uint64_t>(use.ru_maxrss) * 1024, living, living, all.pauses.size(),
        all.merges.size(), all.forks.size(), all.removals.size(), all.dirtied_bytes,
        all.layer_bytes, all.header_bytes, all.merged_bytes, disk_bytes, most_bytes,
        spaces_.back().allocated_bytes, spaces_.back().needed_bytes,
        sum_of_ratios / static_cast<double>(spaces_.size()), most,
        layers / static_cast<double>(std::max<std::size_t>(all.layers.size(), 1)),
        percentile(all.layers, 0.99), percentile(all.layers, 1), times("pause", all.pauses),
        times("merge", all.merges), times("open", all.opens), times("fork", all.forks),
        times("remove", all.removals));
  }

 private:
  static std::string times(std::string_view what, const std::vector<double>& samples) {
    return fmt::format(R"("{0}_p50_ms":{1:.3f},"{0}_p99_ms":{2:.3f},"{0}_max_ms":{3:.3f})", what,
                       percentile(samples, 0.5), percentile(samples, 0.99),
                       percentile(samples, 1.0));
  }

  /// Does something for each family, several at a time.
  template <class Work>
  Status for_all(const Work& work) {
    std::atomic<std::size_t> next = 0;
    std::vector<Status> results(families_.size());
    {
      std::vector<std::jthread> threads;
      for (std::size_t i = 0; i < options_.threads; ++i) {
        threads.emplace_back([&] {
          for (std::size_t at = next++; at < families_.size(); at = next++) {
            results[at] = work(*families_[at]);
          }
        });
      }
    }
    for (Status& result : results) LAMINA_RETURN_IF_ERROR(std::move(result));
    return {};
  }

  [[nodiscard]] Space look_at_space() const {
    std::vector<std::uint64_t> values;
    for (const auto& family : families_) family->add_values(values);
    std::sort(values.begin(), values.end());
    values.erase(std::unique(values.begin(), values.end()), values.end());
    const bool has_zeros = !values.empty() && values.front() == 0;
    return {allocated_below(store_.path()), (values.size() - (has_zeros ? 1 : 0)) * 4096};
  }

  const Options& options_;
  Store store_;
  Setting setting_;
  std::vector<Family> plan_;
  std::vector<std::unique_ptr<FamilyLife>> families_;
  std::vector<Space> spaces_;
};

Status run(const Options& options) {
  LAMINA_RETURN_IF_ERROR(check_merge_policy(options.policy));
  std::string place = options.directory + "/lamina-fleet-XXXXXX";
  if (mkdtemp(place.data()) == nullptr) {
    return fail(ErrorKind::kFailed, "make a directory in '{}': {}", options.directory,
                std::strerror(errno));
  }
  const auto work = [&]() -> Status {
    const std::string files = place + "/vms";
    fs::create_directory(place + "/store");
    fs::create_directory(files);
    LAMINA_ASSIGN_OR_RETURN(Store store, Store::open(place + "/store"));
    Day day(options, std::move(store), files);
    const auto start = std::chrono::steady_clock::now();
    const std::uint64_t before = written_to_disk();
    LAMINA_RETURN_IF_ERROR(day.run());
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    day.print(took.count(), written_to_disk() - before);
    return {};
  };
  Status done = work();
  if (options.keep) {
    fmt::print(stderr, "the store is {}/store\n", place);
  } else {
    fs::remove_all(place);
  }
  return done;
}

int run_command_line(int argc, char** argv) {
  Options options;
  CLI::App app("A day of many sandboxes in one store", "fleet");
  app.add_option("--directory", options.directory, "the store is made there (default: .)");
  app.add_option("--policy", options.policy, "when layers are merged (default: tiered)");
  app.add_option("--sandboxes", options.sandboxes, "in the day (default: 1000)")
      ->check(CLI::Range(1, 1000000));
  app.add_option("--families", options.families, "each has a template (default: 20)")
      ->check(CLI::Range(1, 10000));
  app.add_option("--memory-mib", options.memory_mib, "of each guest (default: 16)")
      ->check(CLI::Range(1, 1024));
  app.add_option("--most-generations", options.most_generations,
                 "no sandbox is paused more often (default: 5000)")
      ->check(CLI::Range(1, 1000000));
  app.add_option("--seed", options.seed, "of the plan and the guests (default: 1)");
  app.add_option("--threads", options.threads, "families that live at once (default: 4)")
      ->check(CLI::Range(1, 1024));
  app.add_option("--looks", options.looks, "at the space, in the day (default: 12)")
      ->check(CLI::Range(1, 1000));
  app.add_flag("--verify-resumes", options.verify_resumes,
               "compare all pages at each resume, not 16");
  app.add_flag("--keep", options.keep, "keep the store, and print where it is");
  CLI11_PARSE(app, argc, argv);
  const Status done = run(options);
  if (done) return 0;
  fmt::print(stderr, "fleet: seed {}: {}\n", options.seed, done.error().message);
  return 1;
}

}  // namespace
}  // namespace lamina::bench::fleet

int main(int argc, char** argv) {
  try {
    return lamina::bench::fleet::run_command_line(argc, argv);
  } catch (const std::exception& exception) {
    std::fprintf(stderr, "fleet: %s\n", exception.what());
    return 1;
  }
}
