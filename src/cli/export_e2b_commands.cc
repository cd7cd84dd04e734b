#include <fmt/format.h>

#include <memory>
#include <string>

#include "base/stopwatch.h"
#include "cli/command_line.h"
#include "cli/output.h"
#include "cli/progress_bar.h"
#include "lamina/e2b.h"

namespace lamina::cli {
namespace {

constexpr const char* kExportE2bFooter =
    "Makes DIR/BUILD/memfile.header and its data, and a directory with data for each\n"
    "older layer. --compact makes one build of all. Every block is checked. Builds\n"
    "get their names when all of them are on the disk, that with the header last.\n\n"
    "The VM state (snapfile) is copied as it is: E2B's Firecracker loads its own\n"
    "only. The working set becomes the list of pages to prefetch.\n\n"
    "Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 corrupt, 5 busy,\n"
    "6 no space, 130 interrupted.";

struct ExportE2bArguments {
  E2bExportOptions options;
  std::string build;
  E2bCodec codec = E2bCodec::kZstd;
  CLI::Option* codec_option = nullptr;
  bool json = false;
};

void print_export_json(const E2bExportOptions& options, const E2bExportReport& report,
                       double elapsed_ms) {
  print_json({{"message_type", "export_e2b"},
              {"directory", options.directory},
              {"build_id", report.build_id.to_string()},
              {"builds", report.builds},
              {"reused_builds", report.reused_builds},
              {"memory_bytes", report.memory_bytes},
              {"mappings", report.mappings},
              {"data_bytes", report.data_bytes},
              {"object_bytes", report.object_bytes},
              {"notes", report.notes},
              {"elapsed_ms", elapsed_ms}});
}

int run_export_e2b(ExportE2bArguments& arguments) {
  const Stopwatch stopwatch;
  E2bExportOptions& options = arguments.options;
  if (!arguments.build.empty()) {
    const auto build = Uuid::parse(arguments.build);
    if (!build) return report_error(build.error(), arguments.json);
    options.build_id = *build;
  }
  if (arguments.codec_option->count() != 0) options.codec = arguments.codec;
  ProgressBar progress;
  options.progress = &progress;
  const auto report = export_e2b(options);
  progress.clear();
  if (!report) return report_error(report.error(), arguments.json);
  print_notes(report->notes);
  if (arguments.json) {
    print_export_json(options, *report, stopwatch.elapsed_ms());
    return kExitDone;
  }
  print_text("{}/{}: {}, {} there already\n", options.directory, report->build_id.to_string(),
             count_of(report->builds, "build"), report->reused_builds);
  print_text("  {} of data in {}, {:.1f} ms\n", human_bytes(report->data_bytes),
             human_bytes(report->object_bytes), stopwatch.elapsed_ms());
  return kExitDone;
}

}  // namespace

Action add_export_e2b(CLI::App& app) {
  auto arguments = std::make_shared<ExportE2bArguments>();
  CLI::App* verb =
      add_verb(app, "export-e2b", "write a snapshot's memory as builds of E2B", kExportE2bFooter);
  E2bExportOptions& options = arguments->options;
  add_text(verb, "SNAPSHOT", options.snapshot, "what to export")->required();
  add_text(verb, "DIR", options.directory, "directory of builds; must exist")->required();
  add_choice(verb, "--header", options.header, "version of the header (v4)");
  add_choice(verb, "--codec", arguments->codec, "how to compress (zstd; with v3 none)");
  arguments->codec_option = verb->get_option("--codec");
  verb->add_flag("--compact", options.compact, "one build with all of the memory");
  add_text(verb, "--build-id", arguments->build, "with --compact: id of the build (random)",
           "UUID");
  verb->add_flag("--json", arguments->json, "print the result as JSON");
  return [arguments] { return run_export_e2b(*arguments); };
}

}  // namespace lamina::cli
