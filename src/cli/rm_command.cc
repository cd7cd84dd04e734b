#include <fmt/format.h>

#include <map>
#include <memory>

#include "cli/command_line.h"
#include "cli/option_adder.h"
#include "cli/output.h"
#include "cli/progress_bar.h"
#include "cli/store_daemon.h"
#include "lamina/remove.h"
#include "schema/report_json.h"
#include "schema/requests.h"

namespace lamina::cli {
namespace {

constexpr const char* kRmFooter =
    "A snapshot is removed at once and for good, and its files after that. A crash\n"
    "leaves it whole or gone. Layers that other snapshots link stay. VMs that were\n"
    "resumed from it run on: their pins keep the files that they need. If one\n"
    "snapshot cannot be removed, the others are removed all the same. If one daemon\n"
    "keeps the store of all of them, it does the removal. --pause-id is for a single\n"
    "snapshot: if another pause has replaced its state, it is not removed (exit 3).\n\n"
    "Exit codes: 0 all removed; else that of the first that was not: 1 failed,\n"
    "3 not found, 5 busy, 6 no space, 130 interrupted. 2 usage: nothing was removed.";

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

/// Empty if the snapshots are in several stores: no daemon keeps them all.
DaemonReply<RemoveReport> request_removal(const RmArguments& arguments) {
  std::optional<StoreDaemon> daemon;
  std::map<std::string, std::string> path_of;
  for (const std::string& path : arguments.options.snapshots) {
    const auto snapshot = named_snapshot(path);
    if (!snapshot) return std::nullopt;
    if (!daemon) daemon = StoreDaemon::find(snapshot->store, arguments.no_daemon);
    if (!daemon || !daemon->is_for(snapshot->store)) return std::nullopt;
    path_of.emplace(snapshot->name, snapshot->path);
  }
  return convert_reply(
      daemon->request<schema::RemoveAnswer>("/v1/remove", arguments.options, nullptr),
      [&](schema::RemoveAnswer answer) {
        RemoveReport report = schema::report_of(std::move(answer));
        for (RemovedSnapshot& removed : report.snapshots) {
          const auto path = path_of.find(removed.snapshot);
          if (path != path_of.end()) removed.snapshot = path->second;
        }
        return report;
      });
}

int run(RmArguments& arguments) {
  const auto reply = request_removal(arguments);
  ProgressBar progress;
  arguments.options.progress = &progress;
  const auto report = reply ? *reply : remove_snapshots(arguments.options);
  progress.clear();
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
  if (arguments.json) print_json(schema::to_json(schema::answer_of(*report, dry_run)));
  return code;
}

}  // namespace

Action add_rm(CLI::App& app) {
  auto arguments = std::make_shared<RmArguments>();
  CLI::App* verb = add_verb(app, "rm", "remove snapshots", kRmFooter);
  OptionAdder adder(verb);
  schema::describe(adder, arguments->options);
  add_no_daemon(verb, arguments->no_daemon);
  verb->add_flag("--json", arguments->json, "print the result as JSON");
  return [arguments] { return run(*arguments); };
}

}  // namespace lamina::cli
