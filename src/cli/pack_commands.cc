#include <fmt/format.h>

#include <memory>

#include "base/stopwatch.h"
#include "cli/command_line.h"
#include "cli/key_options.h"
#include "cli/output.h"
#include "cli/progress_bar.h"
#include "lamina/pack.h"

namespace lamina::cli {
namespace {

constexpr std::uint32_t kMaxFrameBlocks = 64;

constexpr const char* kPackFooter =
    "FILE has all of the snapshot: memory, VM state, working set and attached files.\n"
    "Every block is checked. FILE appears when it is complete and on the disk.\n\n"
    "With a key, everything is encrypted (AES-256-GCM). A key file has 32 bytes or 64\n"
    "hexadecimal digits, and mode 0600. A key command wraps and unwraps a key from\n"
    "its standard input to its standard output; $LAMINA_KEY_OPERATION is \"wrap\" or\n"
    "\"unwrap\". Without the key, FILE is lost.\n\n"
    "Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 corrupt, 5 busy,\n"
    "6 no space, 130 interrupted.";

constexpr const char* kUnpackFooter =
    "The snapshot is the same pause as the one that was packed. Every block is\n"
    "checked. The snapshot appears when it is complete and on the disk.\n\n"
    "Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 corrupt, 5 busy,\n"
    "6 no space, 130 interrupted.";

struct PackArguments {
  PackOptions options;
  bool json = false;
};

struct UnpackArguments {
  UnpackOptions options;
  bool json = false;
};

int run_pack(PackArguments& arguments) {
  const Stopwatch stopwatch;
  ProgressBar progress;
  arguments.options.progress = &progress;
  const auto report = pack_snapshot(arguments.options);
  progress.clear();
  if (!report) return report_error(report.error(), arguments.json);
  print_notes(report->notes);
  if (arguments.json) {
    print_json({{"message_type", "pack"},
                {"file", arguments.options.out},
                {"pause_id", report->pause_id.to_string()},
                {"memory_bytes", report->memory_bytes},
                {"layers", report->layers},
                {"files", report->files},
                {"data_bytes", report->data_bytes},
                {"packed_bytes", report->packed_bytes},
                {"encrypted", report->is_encrypted},
                {"elapsed_ms", stopwatch.elapsed_ms()}});
    return kExitDone;
  }
  print_text("{}: pause {}, {}, {}\n", arguments.options.out, report->pause_id.to_string(),
             count_of(report->layers, "layer"), count_of(report->files, "other file"));
  print_text("  {} of data in {}{}, {:.1f} ms\n", human_bytes(report->data_bytes),
             human_bytes(report->packed_bytes), report->is_encrypted ? ", encrypted" : "",
             stopwatch.elapsed_ms());
  return kExitDone;
}

int run_unpack(UnpackArguments& arguments) {
  const Stopwatch stopwatch;
  ProgressBar progress;
  arguments.options.progress = &progress;
  const auto report = unpack_snapshot(arguments.options);
  progress.clear();
  if (!report) return report_error(report.error(), arguments.json);
  print_notes(report->notes);
  if (arguments.json) {
    print_json({{"message_type", "unpack"},
                {"snapshot", report->snapshot},
                {"pause_id", report->pause_id.to_string()},
                {"generation", report->generation},
                {"memory_bytes", report->memory_bytes},
                {"layers", report->layers},
                {"files", report->files},
                {"data_bytes", report->data_bytes},
                {"packed_bytes", report->packed_bytes},
                {"elapsed_ms", stopwatch.elapsed_ms()}});
    return kExitDone;
  }
  print_text("{}: pause {}, generation {}\n", report->snapshot, report->pause_id.to_string(),
             report->generation);
  print_text("  {} and {}, {} of data from {}, {:.1f} ms\n", count_of(report->layers, "layer"),
             count_of(report->files, "other file"), human_bytes(report->data_bytes),
             human_bytes(report->packed_bytes), stopwatch.elapsed_ms());
  return kExitDone;
}

}  // namespace

Action add_pack(CLI::App& app) {
  auto arguments = std::make_shared<PackArguments>();
  CLI::App* verb =
      add_verb(app, "pack", "write a snapshot as one file, to keep or move", kPackFooter);
  PackOptions& options = arguments->options;
  add_text(verb, "SNAPSHOT", options.snapshot, "what to pack")->required();
  add_text(verb, "-o,--out", options.out, "the file to make", "FILE")->required();
  add_choice(verb, "--codec", options.codec, "how to compress (zstd)");
  verb->add_option("--frame-blocks", options.frame_blocks,
                   "blocks compressed together, 1 to 64 (16)")
      ->check(CLI::Range(1U, kMaxFrameBlocks))
      ->type_name("")
      ->option_text("N");
  add_key_options(verb, options, "encrypt");
  verb->add_flag("--json", arguments->json, "print the result as JSON");
  return [arguments] { return run_pack(*arguments); };
}

Action add_unpack(CLI::App& app) {
  auto arguments = std::make_shared<UnpackArguments>();
  CLI::App* verb = add_verb(app, "unpack", "make a snapshot of a packed one", kUnpackFooter);
  UnpackOptions& options = arguments->options;
  add_text(verb, "FILE", options.file, "a file that 'lamina pack' made")->required();
  add_text(verb, "SNAPSHOT", options.snapshot, "the snapshot to make: STORE/NAME")->required();
  add_key_options(verb, options, "decrypt");
  verb->add_flag("--json", arguments->json, "print the result as JSON");
  return [arguments] { return run_unpack(*arguments); };
}

}  // namespace lamina::cli
