// lamina_bench: lamina's operations beside the original program's algorithm and beside the bare
// kernel work that they cannot avoid. Times are shown and compared with the budgets, never
// asserted: the exit code is 0 unless something could not run or gave wrong data.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <exception>

#include "base/error.h"
#include "bench.h"
#include "lamina/version.h"
#include "machine_facts.h"
#include "report.h"

namespace lamina::bench {
namespace {

constexpr int kExitUsage = 2;

Status run_all(Bench& bench) {
  if (bench.options().curves) {
    for (Status (*group)(Bench&) : {run_mapping_curves, run_ingest_curves, run_chain_curves,
                                    run_merge_curves, run_fault_curves}) {
      LAMINA_RETURN_IF_ERROR(group(bench));
    }
    return {};
  }
  for (Status (*group)(Bench&) :
       {run_mapping, run_headers, run_scan, run_ingest_full, run_ingest_diff, run_chain,
        run_memory_use, run_page_cache, run_page_faults, run_recorded}) {
    LAMINA_RETURN_IF_ERROR(group(bench));
  }
#ifdef LAMINA_HAVE_PACKED
  LAMINA_RETURN_IF_ERROR(run_pack(bench));
#endif
  return {};
}

/// Shows what there is, also when a benchmark failed.
Status run(const Options& options) {
  const MachineFacts machine = find_machine_facts(options.directory);
  LAMINA_ASSIGN_OR_RETURN(Bench bench, Bench::create(options));
  const Status ran = run_all(bench);
  print_table(bench, machine);
  if (!options.json.empty()) LAMINA_RETURN_IF_ERROR(write_json(bench, machine, options.json));
  return ran;
}

void handle_signal(int /*signal*/) { request_stop(); }

int run_command_line(int argc, char** argv) {
  Options options;
  CLI::App app("Measures lamina beside a plain reference and a floor", "lamina_bench");
  app.set_version_flag("--version", std::string("lamina_bench ") + lamina::version_text());
  app.add_option("--filter", options.filter, "only benchmarks whose name contains NAME")
      ->option_text("NAME");
  app.add_option("--json", options.json, "write every sample to FILE")->option_text("FILE");
  app.add_option("--dir", options.directory, "where inputs and stores are made (default: .)")
      ->option_text("DIR")
      ->check(CLI::ExistingDirectory);
  app.add_option("--guest", options.guest,
                 "measure the memory files of a real guest, too: those that "
                 "tests/guest/guest_run.py --keep leaves in DIR")
      ->option_text("DIR")
      ->check(CLI::ExistingDirectory);
  app.add_flag("--quick", options.quick,
               "256 MiB instead of 1 GiB, three rounds; fewer points of curves");
  app.add_flag("--curves", options.curves, "how costs grow, instead of the benchmarks");
  app.add_flag("--no-ballast", options.no_ballast,
               "do not touch and free memory before each timed part");
  app.add_option("--repeat", options.repeat, "rounds (default: 5, quick: 3)")->option_text("N");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitUsage;
  }
  const Status ran = run(options);
  if (ran) return 0;
  fmt::print(stderr, "lamina_bench: {}\n", ran.error().message);
  return ran.error().kind == ErrorKind::kInterrupted ? 130 : 1;
}

}  // namespace
}  // namespace lamina::bench

int main(int argc, char** argv) {
  try {
    std::signal(SIGINT, lamina::bench::handle_signal);
    std::signal(SIGTERM, lamina::bench::handle_signal);
    return lamina::bench::run_command_line(argc, argv);
  } catch (const std::exception& exception) {
    fmt::print(stderr, "lamina_bench: {}\n", exception.what());
    return 1;
  }
}
