#include <fmt/format.h>
#include <unistd.h>

#include <memory>

#include "base/block.h"
#include "base/escape.h"
#include "cli/command_line.h"
#include "cli/memory_map.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "lamina/inspect.h"
#include "schema/report_json.h"

namespace lamina::cli {
namespace {

constexpr const char* kInspectFooter =
    "On a terminal the map has colours, unless NO_COLOR is set.\n\n"
    "Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 corrupt.";

/// Shown for what a header by itself does not tell.
constexpr const char* kUnknown = "-";

struct InspectArguments {
  std::string path;
  bool json = false;
  bool extents = false;
};

/// How much of what the last resumes used was in the working set.
void print_working_set(const SnapshotInfo& info) {
  if (info.working_set_blocks == 0 && info.last_resumes.empty()) return;
  print_text("  working set {}", human_bytes(info.working_set_blocks * kBlockBytes));
  for (const ResumeCoverage& resume : info.last_resumes) {
    print_text("{}{}%", &resume == &info.last_resumes.front() ? "; had of the last resumes " : ", ",
               resume.used_blocks == 0 ? 100 : resume.known_blocks * 100 / resume.used_blocks);
  }
  print_text("\n");
}

void print_pause(const SnapshotInfo& info) {
  if (!info.pause) return;
  print_text("  kind        {}: {}\n", info.pause->is_diff ? "diff" : "full",
             escaped_value(info.pause->reason));
  if (!info.pause->phases) return;
  const RecordedPhases& phases = *info.pause->phases;
  print_text(
      "  phases      prepare {:.1f} ms, pause {:.1f}, create {:.1f}, journal {:.1f}, hook {:.1f}",
      phases.prepare_ms, phases.pause_ms, phases.create_ms, phases.journal_ms, phases.hook_ms);
  if (phases.frozen_ms > 0) {
    print_text(", resume {:.1f}; frozen {:.1f} in all", phases.resume_ms, phases.frozen_ms);
  }
  print_text("\n");
}

void print_summary(const SnapshotInfo& info) {
  print_text("{}\n", info.path);
  print_text("  memory      {} ({} bytes), {} of zeros\n", human_bytes(info.memory_bytes),
             info.memory_bytes, human_bytes(info.zero_blocks * kBlockBytes));
  print_text("  generation  {} ({} header)\n", info.generation, word_of(info.header));
  print_text("  build       {}\n", info.build_id.to_string());
  if (info.pause_id) print_text("  pause       {}\n", info.pause_id->to_string());
  if (info.parent_pause_id) print_text("  parent      {}\n", info.parent_pause_id->to_string());
  if (!info.created.empty()) print_text("  created     {}\n", info.created);
  if (!info.huge_pages.empty()) print_text("  huge pages  {}\n", escaped_value(info.huge_pages));
  if (info.vmstate_bytes) print_text("  VM state    {}\n", human_bytes(*info.vmstate_bytes));
  if (info.once) {
    print_text("  resumes     only once{}\n", info.is_consumed ? ", and was resumed" : "");
  }
  print_working_set(info);
  print_pause(info);
  print_text("  extents     {}; per 2 MiB: {:.1f} on average, {} at most\n", info.extents.size(),
             info.mean_extents_per_window, info.max_extents_per_window);
}

std::string_view checksums_word(const std::optional<bool>& has_checksums) {
  if (!has_checksums) return kUnknown;
  return *has_checksums ? "yes" : "NO: served unchecked";
}

void print_layers(const SnapshotInfo& info) {
  print_text("\n  layer {:<36} {:<8} {:>10} {:>10} {:>6} {}\n", "build", "layout", "live", "dead",
             "links", "checksums");
  for (std::size_t i = 0; i < info.layers.size(); ++i) {
    const LayerInfo& layer = info.layers[i];
    print_text("  {:<5} {:<36} {:<8} {:>10} {:>10} {:>6} {}\n", layer_symbol(i),
               layer.build_id.to_string(), layer.file ? layer.file->layout : kUnknown,
               human_bytes(layer.live_blocks * kBlockBytes),
               layer.file ? human_bytes(layer.file->dead_blocks * kBlockBytes) : kUnknown,
               layer.file ? std::to_string(layer.file->link_count) : kUnknown,
               checksums_word(layer.has_checksums));
  }
}

void print_extents(const SnapshotInfo& info) {
  print_text("\n  {:>14} {:>14} {:<36} {:>14}\n", "offset", "length", "build", "storage offset");
  for (const ExtentInfo& extent : info.extents) {
    print_text("  {:>#14x} {:>#14x} {:<36} {:>#14x}\n", extent.offset_bytes, extent.length_bytes,
               extent.layer ? info.layers[*extent.layer].build_id.to_string() : "zeros",
               extent.storage_offset_bytes);
  }
}

MapStyle style_of(const Terminal& terminal) {
  if (!terminal.has_color) return MapStyle::kPlain;
  return terminal.has_unicode ? MapStyle::kHalfBlocks : MapStyle::kColor;
}

int run(const InspectArguments& arguments) {
  const auto info = inspect(arguments.path);
  if (!info) return report_error(info.error(), arguments.json);
  if (arguments.json) {
    print_json(schema::to_json(schema::answer_of(*info, arguments.extents)));
    return kExitDone;
  }
  print_summary(*info);
  print_layers(*info);
  fmt::print("\n{}", draw_memory_map(*info, style_of(terminal_of(STDOUT_FILENO))));
  if (arguments.extents) print_extents(*info);
  return kExitDone;
}

}  // namespace

Action add_inspect(CLI::App& app) {
  auto arguments = std::make_shared<InspectArguments>();
  CLI::App* verb = add_verb(app, "inspect", "describe a snapshot or a header file", kInspectFooter);
  add_text(verb, "SNAPSHOT|HEADER", arguments->path, "a snapshot, or a header file")->required();
  verb->add_flag("--extents", arguments->extents, "list every extent");
  verb->add_flag("--json", arguments->json, "print as JSON");
  return [arguments] { return run(*arguments); };
}

}  // namespace lamina::cli
