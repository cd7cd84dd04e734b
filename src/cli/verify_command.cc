#include <fmt/format.h>

#include <memory>

#include "base/stopwatch.h"
#include "cli/command_line.h"
#include "cli/output.h"
#include "cli/progress_bar.h"
#include "lamina/verify.h"

namespace lamina::cli {
namespace {

constexpr const char* kVerifyFooter =
    "Reads every stored block, also those that this snapshot does not use.\n\n"
    "Exit codes: 0 intact, 1 the memory differs from MEMFILE, or failed, 2 usage,\n"
    "3 not found, 4 corrupt, 130 interrupted.";

struct VerifyArguments {
  std::string snapshot;
  std::string against;
  bool json = false;
};

void print_report(const VerifyReport& report, const VerifyArguments& arguments, double elapsed_ms) {
  if (arguments.json) {
    print_json({{"message_type", "verify"},
                {"snapshot", arguments.snapshot},
                {"intact", report.is_intact()},
                {"checked_blocks", report.checked_blocks},
                {"unchecked_blocks", report.unchecked_blocks},
                {"corrupt_blocks", report.corrupt_blocks},
                {"corrupt_live_blocks", report.corrupt_live_blocks},
                {"vmstate_corrupt", report.vmstate_corrupt},
                {"compared_blocks", report.compared_blocks},
                {"different_blocks", report.different_blocks},
                {"problems", report.problems},
                {"elapsed_ms", elapsed_ms}});
    return;
  }
  print_text("{}: {}\n", arguments.snapshot, report.is_intact() ? "intact" : "CORRUPT");
  print_text("  {} checked, {} wrong", count_of(report.checked_blocks, "block"),
             report.corrupt_blocks);
  if (report.unchecked_blocks > 0) {
    print_text(", {} without checksums", report.unchecked_blocks);
  }
  print_text(", {:.1f} ms\n", elapsed_ms);
  if (!arguments.against.empty()) {
    print_text("  {} compared with '{}', {} different\n", count_of(report.compared_blocks, "block"),
               arguments.against, report.different_blocks);
  }
}

int run(const VerifyArguments& arguments) {
  const Stopwatch stopwatch;
  VerifyOptions options;
  options.snapshot = arguments.snapshot;
  if (!arguments.against.empty()) options.against = arguments.against;
  ProgressBar progress;
  options.progress = &progress;
  const auto report = verify(options);
  progress.clear();
  if (!report) return report_error(report.error(), arguments.json);
  print_notes(report->problems);
  print_report(*report, arguments, stopwatch.elapsed_ms());
  if (!report->is_intact()) return kExitCorrupt;
  return report->is_equal() ? kExitDone : kExitFailed;
}

}  // namespace

Action add_verify(CLI::App& app) {
  auto arguments = std::make_shared<VerifyArguments>();
  CLI::App* verb = add_verb(app, "verify", "check every stored block", kVerifyFooter);
  add_text(verb, "SNAPSHOT", arguments->snapshot, "what to check")->required();
  add_text(verb, "--against", arguments->against, "a memory file it should be equal to", "MEMFILE");
  verb->add_flag("--json", arguments->json, "print the result as JSON");
  return [arguments] { return run(*arguments); };
}

}  // namespace lamina::cli
