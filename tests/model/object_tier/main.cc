// object_tier_model                  the tests
// object_tier_model --whole [TEXT]   the larger searches, or those whose name contains TEXT, as a
//                                    table; exit code 1: a rule is broken
// object_tier_model --faults         the shortest trace of each fault
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <string_view>

#include "configurations.h"
#include "explorer.h"

namespace {

using namespace lamina::object_tier_model;

constexpr std::uint64_t kWholeLimit = 100'000'000;

void print_trace(const Search& search) {
  fmt::print("  {}:\n", word_of(search.violation));
  for (const std::string& step : search.trace) fmt::print("    {}\n", step);
}

int search_whole(std::string_view text) {
  int status = 0;
  fmt::print("{:<60} {:>11} {:>12} {:>5} {:>7}\n", "search", "states", "steps", "depth", "seconds");
  for (const Config& config : whole_configurations()) {
    if (config.name.find(text) == std::string_view::npos) continue;
    const auto start = std::chrono::steady_clock::now();
    const Search search = explore(config, kWholeLimit);
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    fmt::print("{:<60} {:>11} {:>12} {:>5} {:>7.1f}{}\n", config.name, search.states, search.steps,
               search.depth, taken.count(), search.complete ? "" : "  not complete");
    std::fflush(stdout);
    if (search.violation == Violation::kNone && search.complete) continue;
    status = 1;
    if (search.violation != Violation::kNone) print_trace(search);
  }
  return status;
}

int print_faults() {
  int status = 0;
  for (const Fault& fault : faults()) {
    const Search search = explore(fault.config, kWholeLimit, fault.violation);
    fmt::print("{} ({} states)\n", word_of(fault.config.mutation), search.states);
    print_trace(search);
    if (search.violation != fault.violation) status = 1;
  }
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  for (int index = 1; index < argc; ++index) {
    if (std::string_view(argv[index]) == "--whole") {
      return search_whole(index + 1 < argc ? argv[index + 1] : "");
    }
    if (std::string_view(argv[index]) == "--faults") return print_faults();
  }
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
