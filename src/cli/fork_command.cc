#include <fmt/format.h>

#include <memory>

#include "base/stopwatch.h"
#include "cli/command_line.h"
#include "cli/option_adder.h"
#include "cli/output.h"
#include "cli/progress_bar.h"
#include "cli/store_daemon.h"
#include "lamina/fork.h"
#include "schema/report_json.h"
#include "schema/requests.h"

namespace lamina::cli {
namespace {

constexpr const char* kForkFooter =
    "The fork is the same pause under a second name, made of hard links. The two\n"
    "snapshots are independent from then on. Layers are copied to another file\n"
    "system, and if a file has too many links. If a daemon keeps the store, it makes\n"
    "the fork, unless the fork is in another store.\n\n"
    "Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 corrupt, 5 busy,\n"
    "6 no space, 130 interrupted.";

struct ForkArguments {
  ForkOptions options;
  bool no_daemon = false;
  bool json = false;
};

void print_report(const ForkReport& report, double elapsed_ms, bool json) {
  if (json) {
    print_json(schema::to_json(schema::ForkAnswer{report, elapsed_ms}));
    return;
  }
  print_text("{}: pause {}, generation {}\n", report.fork, report.pause_id.to_string(),
             report.generation);
  print_text("  {} linked ({})", count_of(report.linked_layers, "layer"),
             human_bytes(report.linked_bytes));
  if (report.copied_layers > 0) {
    print_text(", {} copied ({})", report.copied_layers, human_bytes(report.copied_bytes));
  }
  print_text(", {:.1f} ms\n", elapsed_ms);
}

DaemonReply<ForkReport> request_fork(const ForkArguments& arguments) {
  const auto source = named_snapshot(arguments.options.snapshot);
  const auto fork = named_snapshot(arguments.options.fork);
  if (!source || !fork) return std::nullopt;
  const auto daemon = StoreDaemon::find(source->store, arguments.no_daemon);
  if (!daemon || !daemon->is_for(fork->store)) return std::nullopt;
  return convert_reply(daemon->request<schema::ForkAnswer>("/v1/fork", arguments.options, nullptr),
                       [&](schema::ForkAnswer answer) {
                         answer.report.fork = fork->path;
                         return std::move(answer.report);
                       });
}

int run(ForkArguments& arguments) {
  const Stopwatch stopwatch;
  const auto reply = request_fork(arguments);
  ProgressBar progress;
  arguments.options.progress = &progress;
  const auto report = reply ? *reply : fork_snapshot(arguments.options);
  progress.clear();
  if (!report) return report_error(report.error(), arguments.json);
  print_notes(report->notes);
  print_report(*report, stopwatch.elapsed_ms(), arguments.json);
  return kExitDone;
}

}  // namespace

Action add_fork(CLI::App& app) {
  auto arguments = std::make_shared<ForkArguments>();
  CLI::App* verb = add_verb(app, "fork", "give a snapshot a second name, by links", kForkFooter);
  OptionAdder adder(verb);
  schema::describe(adder, arguments->options);
  add_no_daemon(verb, arguments->no_daemon);
  verb->add_flag("--json", arguments->json, "print the result as JSON");
  return [arguments] { return run(*arguments); };
}

}  // namespace lamina::cli
