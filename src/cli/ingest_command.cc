#include <fmt/format.h>

#include <memory>

#include "base/block.h"
#include "base/stopwatch.h"
#include "cli/command_line.h"
#include "cli/output.h"
#include "cli/progress_bar.h"
#include "lamina/cloud_hypervisor.h"
#include "lamina/ingest.h"

namespace lamina::cli {
namespace {

constexpr const char* kIngestFooter =
    "A diff is stored over --parent, whose layers are linked into SNAPSHOT: each\n"
    "snapshot is complete by itself. In a diff a hole means 'as in the parent' and a\n"
    "written zero means 'cleared by the guest' (--zeros written, the default;\n"
    "without the option a diff that has no hole at all, and zeros where the parent\n"
    "has data, is refused as ambiguous). MEMFILE is read from any file system. Do\n"
    "not copy a diff first: cp, cp -a, mv to another file system, rsync -S and dd\n"
    "conv=sparse make holes of written zeros; cat, dd and git fill holes; tar -S\n"
    "keeps both. A large diff without written zeros gets a note, unless --zeros\n"
    "written says that it is as the VMM wrote it. A full file with a parent (--kind\n"
    "full) is compared with it, and only the differences are stored. MEMFILE may\n"
    "also be a directory that Cloud Hypervisor's vm.snapshot has written.\n\n"
    "Layout compact writes a new file and keeps MEMFILE. Layout adopt moves MEMFILE\n"
    "into the store and moves no data. Layout auto is compact, unless --consume is\n"
    "given and MEMFILE is on the store's file system. --replace keeps nothing of the\n"
    "old snapshot.\n\n"
    "Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 parent corrupt, 5 busy,\n"
    "6 no space, 130 interrupted.";

struct IngestArguments {
  IngestOptions options;
  std::string build_id;
  std::string parent;
  std::string vmstate;
  bool json = false;
};

const char* layout_name(Layout layout) {
  return layout == Layout::kAdopted ? "adopted" : "compact";
}

void print_report(const IngestReport& report, double elapsed_ms, bool json) {
  if (json) {
    print_json({{"message_type", "ingest"},
                {"snapshot", report.snapshot},
                {"build_id", report.build_id.to_string()},
                {"pause_id", report.pause_id.to_string()},
                {"kind", word_of(report.kind)},
                {"layout", layout_name(report.layout)},
                {"generation", report.generation},
                {"memory_bytes", report.memory_bytes},
                {"stored_blocks", report.stored_blocks},
                {"zero_blocks", report.zero_blocks},
                {"unchanged_blocks", report.unchanged_blocks},
                {"layer_bytes", report.layer_bytes},
                {"layer_allocated_bytes", report.layer_allocated_bytes},
                {"cloned_bytes", report.cloned_bytes},
                {"notes", report.notes},
                {"elapsed_ms", elapsed_ms}});
    return;
  }
  print_text("{}: generation {}, {} of {} memory\n", report.snapshot, report.generation,
             word_of(report.kind), human_bytes(report.memory_bytes));
  print_text("  {} of data ({}), {} of zeros, {} unchanged\n",
             count_of(report.stored_blocks, "block"),
             human_bytes(report.stored_blocks * kBlockBytes), count_of(report.zero_blocks, "block"),
             report.unchanged_blocks);
  print_text("  layer {} ({}, {}), {:.1f} ms\n", report.build_id.to_string(),
             layout_name(report.layout), human_bytes(report.layer_allocated_bytes), elapsed_ms);
}

/// A directory is a snapshot of Cloud Hypervisor's own.
Result<IngestReport> store_input(const IngestOptions& options) {
  if (!is_cloud_hypervisor_directory(options.memory_file)) return ingest(options);
  IngestOptions rest = options;
  rest.memory_file.clear();
  return ingest_cloud_hypervisor(options.memory_file, rest);
}

int run(IngestArguments& arguments) {
  const Stopwatch stopwatch;
  IngestOptions& options = arguments.options;
  if (!arguments.build_id.empty()) {
    const auto id = Uuid::parse(arguments.build_id);
    if (!id) return report_error(id.error(), arguments.json);
    options.build_id = *id;
  }
  if (!arguments.parent.empty()) options.parent = arguments.parent;
  if (!arguments.vmstate.empty()) options.vmstate_file = arguments.vmstate;
  ProgressBar progress;
  options.progress = &progress;
  const auto report = store_input(options);
  progress.clear();
  if (!report) return report_error(report.error(), arguments.json);
  print_notes(report->notes);
  print_report(*report, stopwatch.elapsed_ms(), arguments.json);
  return kExitDone;
}

}  // namespace

Action add_ingest(CLI::App& app) {
  auto arguments = std::make_shared<IngestArguments>();
  CLI::App* verb = add_verb(app, "ingest", "store a memory file as a snapshot", kIngestFooter);
  add_text(verb, "MEMFILE", arguments->options.memory_file, "what the VMM wrote at the pause")
      ->required();
  add_text(verb, "--out", arguments->options.snapshot, "the snapshot to make", "SNAPSHOT")
      ->required();
  add_text(verb, "--parent", arguments->parent, "what a diff changes", "SNAPSHOT");
  add_choice(verb, "--kind", arguments->options.kind, "(default diff with --parent, else full)");
  add_text(verb, "--vmstate", arguments->vmstate, "VM state of the same pause, kept as snapfile",
           "FILE");
  add_choice<HugePages>(verb, "--huge-pages", arguments->options.huge_pages,
                        "the VM's pages (default: as parent)",
                        std::span(kWords<HugePages>).subspan(1));  // not "as-before"
  add_text(verb, "--build-id", arguments->build_id, "of the new layer (default random)", "UUID");
  add_choice(verb, "--layout", arguments->options.layout, "see below (default auto)");
  verb->add_flag("--consume", arguments->options.consume, "MEMFILE may be taken or removed");
  verb->add_flag("--replace", arguments->options.replace, "replace an existing SNAPSHOT");
  add_choice(verb, "--zeros", arguments->options.zeros, "zeros in a diff, see below");
  add_choice(verb, "--dedup", arguments->options.dedup,
             "drop what equals the parent (default none)");
  add_choice(verb, "--header", arguments->options.header, "header format (default native)");
  verb->add_flag("--json", arguments->json, "print the result as JSON");
  return [arguments] { return run(*arguments); };
}

}  // namespace lamina::cli
