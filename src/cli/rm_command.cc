#include <fmt/format.h>

#include <memory>

#include "cli/command_line.h"
#include "cli/output.h"
#include "cli/store_daemon.h"
#include "lamina/remove.h"
#include "report/snapshot_json.h"

namespace lamina::cli {
namespace {

constexpr const char* kRmFooter =
    "A snapshot is gone at once and for good, its files follow; a crash leaves it\n"
    "whole or gone. Layers that other snapshots link stay. VMs that were resumed from\n"
    "it run on: they keep what they need until they end. One that cannot be removed\n"
    "does not keep the others. Where a daemon keeps the store of all of them it is\n"
    "asked to remove them.\n\n"
    "Exit codes: 0 all removed; else that of the first that was not: 1 failed,\n"
    "3 not found, 5 busy, 6 no space. 2 usage: nothing was removed.";

struct RmArguments {
  RemoveOptions options;
  bool no_daemon = false;
  bool json = false;
};

void print_removed(const RemovedSnapshot& removed, bool dry_run) {
  print_text("{}: {} {}", removed.snapshot, dry_run ? "would free" : "removed, freed",
             human_bytes(removed.freed_bytes));
  if (removed.remaining_bytes > 0) {
    print_text("; {} {} linked elsewhere", human_bytes(removed.remaining_bytes),
               dry_run ? "would stay," : "stay,");
  }
  if (removed.running_vms > 0) {
    print_text("; {} of it {} on", count_of(removed.running_vms, "VM"),
               removed.running_vms == 1 ? "runs" : "run");
  }
  print_text("\n");
}

/// Snapshots of several stores are none of a daemon's: they are one removal, with one report.
Asked<RemoveReport> ask_daemon(const RmArguments& arguments) {
  std::optional<StoreDaemon> daemon;
  auto names = nlohmann::ordered_json::array();
  for (const std::string& path : arguments.options.snapshots) {
    const auto snapshot = named_snapshot(path);
    if (!snapshot) return std::nullopt;
    if (!daemon) daemon = StoreDaemon::of(snapshot->store, arguments.no_daemon);
    if (!daemon || !daemon->keeps(snapshot->store)) return std::nullopt;
    daemon->show_as_given(*snapshot);
    names.push_back(snapshot->name);
  }
  nlohmann::ordered_json fields = {{"snapshots", std::move(names)}};
  if (arguments.options.dry_run) fields["dry_run"] = true;
  return daemon->ask("/v1/remove", std::move(fields), nullptr, report::removal_from_json);
}

int run(const RmArguments& arguments) {
  const auto asked = ask_daemon(arguments);
  const auto report = asked ? *asked : remove_snapshots(arguments.options);
  if (!report) return report_error(report.error(), arguments.json);
  print_notes(report->notes);
  const bool dry_run = arguments.options.dry_run;
  if (report->snapshots.size() == 1 && report->snapshots.front().error) {
    return report_error(*report->snapshots.front().error, arguments.json);
  }
  int code = kExitDone;
  for (const RemovedSnapshot& removed : report->snapshots) {
    if (removed.error) {
      const int failed = report_error(*removed.error, false);
      if (code == kExitDone) code = failed;
    } else if (!arguments.json) {
      print_removed(removed, dry_run);
    }
  }
  if (arguments.json) print_json(report::removal_json(*report, dry_run));
  return code;
}

}  // namespace

Action add_rm(CLI::App& app) {
  auto arguments = std::make_shared<RmArguments>();
  CLI::App* verb = add_verb(app, "rm", "remove snapshots", kRmFooter);
  add_texts(verb, "SNAPSHOT", arguments->options.snapshots, "what to remove")->required();
  verb->add_flag("--dry-run", arguments->options.dry_run, "change nothing, say what would go");
  add_no_daemon(verb, arguments->no_daemon);
  verb->add_flag("--json", arguments->json, "print the result as JSON");
  return [arguments] { return run(*arguments); };
}

}  // namespace lamina::cli
