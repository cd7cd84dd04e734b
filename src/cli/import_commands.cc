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

constexpr const char* kImportE2bFooter =
    "DIR is laid out as E2B's object storage: DIR/BUILD/memfile.header, with the data\n"
    "in DIR/BUILD/memfile, .zstd or .lz4, and a directory for each older build that\n"
    "the header refers to. It can also be the URL of an object store:\n"
    "s3://BUCKET[/PREFIX][?endpoint=…] or file:///DIRECTORY. The pages to prefetch\n"
    "(metadata.json) become the working set. Whatever cannot be read without doubt is\n"
    "refused.\n\n"
    "--compact makes one layer of a chain of any length; without it each build is a\n"
    "layer, and at most 256 are made. --digests skip reads only what is live.\n\n"
    "Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 corrupt, 5 busy,\n"
    "6 no space, 130 interrupted.";

struct ImportE2bArguments {
  E2bImportOptions options;
  std::string build;
  bool json = false;
};

void print_import_json(const E2bImportReport& report, double elapsed_ms) {
  print_json({{"message_type", "import_e2b"},
              {"snapshot", report.snapshot},
              {"pause_id", report.pause_id.to_string()},
              {"header_version", report.header_version},
              {"source_generation", report.source_generation},
              {"memory_bytes", report.memory_bytes},
              {"page_bytes", report.page_bytes},
              {"builds", report.builds},
              {"layers", report.layers},
              {"stored_blocks", report.stored_blocks},
              {"zero_blocks", report.zero_blocks},
              {"read_bytes", report.read_bytes},
              {"checked_digests", report.checked_digests},
              {"working_set_blocks", report.working_set_blocks},
              {"notes", report.notes},
              {"elapsed_ms", elapsed_ms}});
}

int run_import_e2b(ImportE2bArguments& arguments) {
  const Stopwatch stopwatch;
  const auto build = Uuid::parse(arguments.build);
  if (!build) return report_error(build.error(), arguments.json);
  arguments.options.build = *build;
  ProgressBar progress;
  arguments.options.progress = &progress;
  const auto report = import_e2b(arguments.options);
  progress.clear();
  if (!report) return report_error(report.error(), arguments.json);
  print_notes(report->notes);
  if (arguments.json) {
    print_import_json(*report, stopwatch.elapsed_ms());
    return kExitDone;
  }
  print_text("{}: pause {}, {} of {}\n", report->snapshot, report->pause_id.to_string(),
             count_of(report->layers, "layer"), count_of(report->builds, "build"));
  constexpr std::uint64_t kBytesPerBlock = 4096;
  print_text("  {} stored of {} of memory, {} read, {:.1f} ms\n",
             human_bytes(report->stored_blocks * kBytesPerBlock), human_bytes(report->memory_bytes),
             human_bytes(report->read_bytes), stopwatch.elapsed_ms());
  return kExitDone;
}

}  // namespace

Action add_import_e2b(CLI::App& app) {
  auto arguments = std::make_shared<ImportE2bArguments>();
  CLI::App* verb =
      add_verb(app, "import-e2b", "make a snapshot of a build of E2B", kImportE2bFooter);
  E2bImportOptions& options = arguments->options;
  add_text(verb, "DIR", options.directory, "directory or URL of builds")->required();
  add_text(verb, "BUILD", arguments->build, "id of the build")->required();
  add_text(verb, "-o,--out", options.snapshot, "the snapshot to make", "STORE/NAME")->required();
  verb->add_flag("--compact", options.compact, "make one layer of all builds");
  add_choice(verb, "--digests", options.digests, "SHA-256 of data objects (check)");
  verb->add_flag("--json", arguments->json, "print the result as JSON");
  return [arguments] { return run_import_e2b(*arguments); };
}

}  // namespace lamina::cli
