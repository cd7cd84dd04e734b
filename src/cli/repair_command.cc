#include <fmt/format.h>

#include <memory>

#include "cli/command_line.h"
#include "cli/output.h"
#include "lamina/repair.h"

namespace lamina::cli {
namespace {

constexpr const char* kRepairFooter =
    "Rebuilds a missing or corrupt header from the trailers of the layers, and a\n"
    "missing or corrupt snapshot.json. Layers are never changed.\n\n"
    "Exit codes: 0 done or nothing to do, 1 failed, 2 usage, 3 it or a layer is\n"
    "missing, 4 a layer is corrupt, 5 busy, 6 no space.";

struct RepairArguments {
  std::string snapshot;
  bool json = false;
};

int run(const RepairArguments& arguments) {
  const auto report = repair(arguments.snapshot);
  if (!report) return report_error(report.error(), arguments.json);
  print_notes(report->notes);
  if (arguments.json) {
    print_json({{"message_type", "repair"},
                {"snapshot", arguments.snapshot},
                {"header_rebuilt", report->header_rebuilt},
                {"facts_rebuilt", report->facts_rebuilt},
                {"notes", report->notes}});
    return kExitDone;
  }
  std::string done;
  if (report->header_rebuilt) done = "the header was rebuilt";
  if (report->facts_rebuilt)
    done += (done.empty() ? "" : ", ") + std::string("snapshot.json was rebuilt");
  print_text("{}: {}\n", arguments.snapshot, done.empty() ? "nothing to repair" : done);
  return kExitDone;
}

}  // namespace

Action add_repair(CLI::App& app) {
  auto arguments = std::make_shared<RepairArguments>();
  CLI::App* verb = add_verb(app, "repair", "rebuild a lost header", kRepairFooter);
  add_text(verb, "SNAPSHOT", arguments->snapshot, "what to repair")->required();
  verb->add_flag("--json", arguments->json, "print the result as JSON");
  return [arguments] { return run(*arguments); };
}

}  // namespace lamina::cli
