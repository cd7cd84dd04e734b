#include <fmt/format.h>

#include <charconv>
#include <limits>
#include <memory>
#include <optional>
#include <system_error>

#include "base/block.h"
#include "base/stopwatch.h"
#include "cli/command_line.h"
#include "cli/output.h"
#include "cli/progress_bar.h"
#include "lamina/merge.h"

namespace lamina::cli {
namespace {

constexpr const char* kMergeFooter =
    "Without --out the snapshot is replaced atomically, once the merged layer is on\n"
    "the disk. Layers are not written: other snapshots that link them keep them.\n"
    "Blocks move with their checksums, and not all of them are read. A corrupt block\n"
    "stays corrupt, and is found when it is read ('lamina verify').\n\n"
    "Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 corrupt, 5 busy,\n"
    "6 no space, 130 interrupted.";

struct MergeArguments {
  MergeOptions options;
  std::string out;
  std::optional<std::uint32_t> layers;
  bool full = false;
  bool json = false;
};

void print_report(const MergeReport& report, double elapsed_ms, bool json) {
  if (json) {
    print_json({{"message_type", "merge"},
                {"snapshot", report.snapshot},
                {"merged", report.merged},
                {"build_id", report.build_id.to_string()},
                {"pause_id", report.pause_id.to_string()},
                {"generation", report.generation},
                {"layers_before", report.layers_before},
                {"layers_after", report.layers_after},
                {"merged_blocks", report.merged_blocks},
                {"dropped_blocks", report.dropped_blocks},
                {"cloned_bytes", report.cloned_bytes},
                {"copied_bytes", report.copied_bytes},
                {"freed_bytes", report.freed_bytes},
                {"duplicated_bytes", report.duplicated_bytes},
                {"notes", report.notes},
                {"elapsed_ms", elapsed_ms}});
    return;
  }
  if (!report.merged) {
    print_text("{}: nothing to merge\n", report.snapshot);
    return;
  }
  print_text("{}: {} became {}, generation {}\n", report.snapshot,
             count_of(report.layers_before, "layer"), report.layers_after, report.generation);
  print_text("  {} merged ({} cloned, {} copied), {} dropped, {:.1f} ms\n",
             count_of(report.merged_blocks, "block"), human_bytes(report.cloned_bytes),
             human_bytes(report.copied_bytes), count_of(report.dropped_blocks, "block"),
             elapsed_ms);
  if (report.duplicated_bytes > 0) {
    print_text("  {} stay in use by other snapshots, so this much is stored twice now\n",
               human_bytes(report.duplicated_bytes));
  }
}

/// Parses the value of --layers. Throws CLI::ValidationError, as CLI11 expects.
std::uint32_t parse_layers(const std::string& text) {
  std::uint32_t layers = 0;
  const char* end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, layers);
  if (error != std::errc() || stopped != end || layers == 0) {
    throw CLI::ValidationError("--layers",
                               fmt::format("'{}' is not a whole number from 1 to {}", text,
                                           std::numeric_limits<std::uint32_t>::max()));
  }
  return layers;
}

int run(MergeArguments& arguments) {
  const Stopwatch stopwatch;
  MergeOptions& options = arguments.options;
  if (!arguments.out.empty()) options.out = arguments.out;
  if (arguments.full && arguments.layers) {
    return report_error(
        {ErrorKind::kUsage,
         fmt::format("--full merges all layers and --layers {} the youngest only; give one of them",
                     *arguments.layers)},
        arguments.json);
  }
  options.layers = arguments.layers;
  ProgressBar progress;
  options.progress = &progress;
  const auto report = merge(options);
  progress.clear();
  if (!report) return report_error(report.error(), arguments.json);
  print_notes(report->notes);
  print_report(*report, stopwatch.elapsed_ms(), arguments.json);
  return kExitDone;
}

}  // namespace

Action add_merge(CLI::App& app) {
  auto arguments = std::make_shared<MergeArguments>();
  CLI::App* verb = add_verb(app, "merge", "merge layers at file level", kMergeFooter);
  add_text(verb, "SNAPSHOT", arguments->options.snapshot, "what to merge")->required();
  add_text(verb, "--out", arguments->out, "make a new one, leave SNAPSHOT", "SNAPSHOT");
  verb->add_flag("--full", arguments->full, "merge all layers (the default)");
  const auto choose_layers = [arguments = arguments.get()](const std::string& given) {
    arguments->layers = parse_layers(given);
  };
  verb->add_option_function<std::string>("--layers", choose_layers, "merge the N youngest layers")
      ->option_text("N");
  verb->add_flag("--json", arguments->json, "print the result as JSON");
  return [arguments] { return run(*arguments); };
}

}  // namespace lamina::cli
