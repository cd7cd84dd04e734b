// The verb `remote fetch`, which page servers run.
#include <fmt/format.h>

#include <memory>

#include "base/error.h"
#include "cli/command_line.h"
#include "cli/output.h"
#include "cli/progress_bar.h"
#include "lamina/remote.h"

namespace lamina::cli {
namespace {

constexpr const char* kFetchFooter =
    "Fetches what is missing of a snapshot that was resumed with --remote: first the\n"
    "blocks that VMs wait for, then its working set, then the rest. The store's page\n"
    "server runs this; `lamina remote pull` does the same by name. It can be killed\n"
    "and run again at any time. A bucket that fails is asked again without limit.\n\n"
    "Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 corrupt, 5 another\n"
    "process fetches it, 6 no space, 130 interrupted.";

struct FetchArguments {
  FetchOptions options;
  std::string id;
};

int run_fetch(FetchArguments& arguments) {
  const auto id = Uuid::parse(arguments.id);
  if (!id) {
    return report_error(
        Error{ErrorKind::kUsage, fmt::format("'{}' is not the id of an arrival", arguments.id)},
        false);
  }
  arguments.options.arrival = *id;
  ProgressBar progress;
  arguments.options.progress = &progress;
  const auto report = fetch_arriving(arguments.options);
  progress.clear();
  if (!report) return report_error(report.error(), false);
  print_notes(report->notes);
  print_text("{}: {} fetched\n", report->snapshot, human_bytes(report->fetched_bytes));
  return kExitDone;
}

}  // namespace

Action add_remote_fetch(CLI::App& app) {
  auto arguments = std::make_shared<FetchArguments>();
  CLI::App* verb =
      add_verb(app, "remote-fetch", "fetch the rest of an arriving snapshot", kFetchFooter);
  add_text(verb, "ID", arguments->id, "its directory in STORE/.arriving")->required();
  add_text(verb, "--store", arguments->options.store, "directory of the store", "DIR")->required();
  return [arguments] { return run_fetch(*arguments); };
}

}  // namespace lamina::cli
