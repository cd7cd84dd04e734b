#include <fmt/format.h>

#include <memory>

#include "base/stopwatch.h"
#include "cli/command_line.h"
#include "cli/output.h"
#include "cli/progress_bar.h"
#include "lamina/materialize.h"

namespace lamina::cli {
namespace {

constexpr const char* kMaterializeFooter =
    "Every block is checked. Zeros become holes. FILE appears when it is complete and\n"
    "on the disk.\n\n"
    "Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 corrupt, 6 no space,\n"
    "130 interrupted.";

struct MaterializeArguments {
  MaterializeOptions options;
  bool json = false;
};

int run(MaterializeArguments& arguments) {
  const Stopwatch stopwatch;
  ProgressBar progress;
  arguments.options.progress = &progress;
  const auto report = materialize(arguments.options);
  progress.clear();
  if (!report) return report_error(report.error(), arguments.json);
  if (arguments.json) {
    print_json({{"message_type", "materialize"},
                {"file", arguments.options.out},
                {"memory_bytes", report->memory_bytes},
                {"data_bytes", report->data_bytes},
                {"cloned_bytes", report->cloned_bytes},
                {"elapsed_ms", stopwatch.elapsed_ms()}});
    return kExitDone;
  }
  print_text("{}: {} of memory, {} of data ({} cloned), {:.1f} ms\n", arguments.options.out,
             human_bytes(report->memory_bytes), human_bytes(report->data_bytes),
             human_bytes(report->cloned_bytes), stopwatch.elapsed_ms());
  return kExitDone;
}

}  // namespace

Action add_materialize(CLI::App& app) {
  auto arguments = std::make_shared<MaterializeArguments>();
  CLI::App* verb = add_verb(app, "materialize", "write the memory as one file", kMaterializeFooter);
  add_text(verb, "SNAPSHOT", arguments->options.snapshot, "whose memory to write")->required();
  add_text(verb, "--out", arguments->options.out, "the file to make", "FILE")->required();
  add_choice(verb, "--reflink", arguments->options.reflink,
             "share storage with layers (default auto)");
  verb->add_flag("--json", arguments->json, "print the result as JSON");
  return [arguments] { return run(*arguments); };
}

}  // namespace lamina::cli
