// The verbs below "lamina export": a snapshot in the files of another program.
#include <fmt/format.h>

#include <memory>

#include "base/stopwatch.h"
#include "cli/command_line.h"
#include "cli/output.h"
#include "cli/progress_bar.h"
#include "lamina/export.h"

namespace lamina::cli {
namespace {

constexpr const char* kExportFirecrackerFooter =
    "DIR gets snapshot_file (the VM state), mem_file (the memory, sparse), attached/\n"
    "(the attached files), load.json (the request that loads it) and README.md.\n"
    "Firecracker loads it by itself, without lamina; the directory can be moved.\n\n"
    "Every block is checked. DIR appears when it is complete and on the disk.\n\n"
    "Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 corrupt, 5 busy,\n"
    "6 no space, 130 interrupted.";

struct FirecrackerExportArguments {
  FirecrackerExportOptions options;
  bool json = false;
};

int run_export_firecracker(FirecrackerExportArguments& arguments) {
  const Stopwatch stopwatch;
  ProgressBar progress;
  arguments.options.progress = &progress;
  const auto report = export_firecracker(arguments.options);
  progress.clear();
  if (!report) return report_error(report.error(), arguments.json);
  print_notes(report->notes);
  if (arguments.json) {
    nlohmann::ordered_json json = {{"message_type", "export_firecracker"},
                                   {"directory", arguments.options.out},
                                   {"pause_id", report->pause_id.to_string()},
                                   {"memory_bytes", report->memory_bytes},
                                   {"data_bytes", report->data_bytes},
                                   {"cloned_bytes", report->cloned_bytes},
                                   {"vmstate_bytes", report->vmstate_bytes},
                                   {"attached", report->attached},
                                   {"vmm_version", nullptr},
                                   {"notes", report->notes},
                                   {"elapsed_ms", stopwatch.elapsed_ms()}};
    if (!report->vmm_version.empty()) json["vmm_version"] = report->vmm_version;
    print_json(json);
    return kExitDone;
  }
  print_text("{}: pause {}{}\n", arguments.options.out, report->pause_id.to_string(),
             report->vmm_version.empty() ? "" : " of Firecracker " + report->vmm_version);
  print_text("  {} of memory, {} of data ({} cloned), {}, {:.1f} ms\n",
             human_bytes(report->memory_bytes), human_bytes(report->data_bytes),
             human_bytes(report->cloned_bytes), count_of(report->attached.size(), "attached file"),
             stopwatch.elapsed_ms());
  return kExitDone;
}

}  // namespace

Action add_export_firecracker(CLI::App& app) {
  auto arguments = std::make_shared<FirecrackerExportArguments>();
  FirecrackerExportOptions& options = arguments->options;
  CLI::App* verb = add_verb(app, "export-firecracker", "write what Firecracker loads by itself",
                            kExportFirecrackerFooter);
  add_text(verb, "SNAPSHOT", options.snapshot, "what to export")->required();
  add_text(verb, "DIR", options.out, "the directory to make")->required();
  add_choice(verb, "--reflink", options.reflink, "share storage with layers (default auto)");
  verb->add_flag("--json", arguments->json, "print the result as JSON");
  return [arguments] { return run_export_firecracker(*arguments); };
}

}  // namespace lamina::cli
