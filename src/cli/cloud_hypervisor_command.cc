#include <fmt/format.h>

#include <memory>

#include "base/stopwatch.h"
#include "cli/command_line.h"
#include "cli/output.h"
#include "cli/progress_bar.h"
#include "lamina/cloud_hypervisor.h"

namespace lamina::cli {
namespace {

constexpr const char* kExportCloudHypervisorFooter =
    "DIR gets config.json, state.json, memory-ranges (sparse) and attached/ (the\n"
    "attached files). Cloud Hypervisor restores it by itself, without lamina:\n"
    "cloud-hypervisor --restore source_url=file:///DIR\n\n"
    "Every block is checked. DIR appears when it is complete and on the disk. Such a\n"
    "directory is stored again by: lamina ingest DIR --out SNAPSHOT\n\n"
    "Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 corrupt, 5 busy,\n"
    "6 no space, 130 interrupted.";

struct CloudHypervisorExportArguments {
  CloudHypervisorExportOptions options;
  bool json = false;
};

int run_export_cloud_hypervisor(CloudHypervisorExportArguments& arguments) {
  const Stopwatch stopwatch;
  ProgressBar progress;
  arguments.options.progress = &progress;
  const auto report = export_cloud_hypervisor(arguments.options);
  progress.clear();
  if (!report) return report_error(report.error(), arguments.json);
  if (arguments.json) {
    nlohmann::ordered_json json = {{"message_type", "export_cloud_hypervisor"},
                                   {"directory", arguments.options.out},
                                   {"pause_id", report->pause_id.to_string()},
                                   {"memory_bytes", report->memory_bytes},
                                   {"data_bytes", report->data_bytes},
                                   {"attached", report->attached},
                                   {"vmm_version", nullptr},
                                   {"elapsed_ms", stopwatch.elapsed_ms()}};
    if (!report->vmm_version.empty()) json["vmm_version"] = report->vmm_version;
    print_json(json);
    return kExitDone;
  }
  print_text("{}: pause {}\n  {} of memory, {} of data, {}, {:.1f} ms\n", arguments.options.out,
             report->pause_id.to_string(), human_bytes(report->memory_bytes),
             human_bytes(report->data_bytes), count_of(report->attached.size(), "attached file"),
             stopwatch.elapsed_ms());
  return kExitDone;
}

}  // namespace

Action add_export_cloud_hypervisor(CLI::App& app) {
  auto arguments = std::make_shared<CloudHypervisorExportArguments>();
  CloudHypervisorExportOptions& options = arguments->options;
  CLI::App* verb = add_verb(app, "export-cloud-hypervisor", "write what Cloud Hypervisor restores",
                            kExportCloudHypervisorFooter);
  add_text(verb, "SNAPSHOT", options.snapshot, "what to export")->required();
  add_text(verb, "DIR", options.out, "the directory to make")->required();
  add_choice(verb, "--reflink", options.reflink, "share storage with layers (default auto)");
  verb->add_flag("--json", arguments->json, "print the result as JSON");
  return [arguments] { return run_export_cloud_hypervisor(*arguments); };
}

}  // namespace lamina::cli
