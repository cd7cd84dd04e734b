#include <fmt/format.h>

#include <filesystem>
#include <memory>

#include "base/stopwatch.h"
#include "cli/command_line.h"
#include "cli/option_adder.h"
#include "cli/output.h"
#include "cli/progress_bar.h"
#include "cli/store_daemon.h"
#include "lamina/compact.h"
#include "lamina/listing.h"
#include "schema/report_json.h"
#include "schema/requests.h"

namespace lamina::cli {
namespace {

constexpr const char* kCompactFooter =
    "Merges the youngest layers of each snapshot, as many as the policy says, and\n"
    "replaces the snapshot atomically. Pauses have precedence: if another process\n"
    "writes the snapshot meanwhile, the merge is planned again, and dropped after 4\n"
    "attempts (exit 5). If one snapshot fails, the others are merged all the same,\n"
    "and the exit code is that of the first failure. If a daemon keeps the store, it\n"
    "does the merge, with the policy that is given here.\n\n"
    "Policies:\n"
    "  tiered     At soft=8 layers, merges young layers of comparable size. A large\n"
    "             base is merged when the layers on it have 1/ratio=2 of its size.\n"
    "             Merges sooner if half of the stored data is superseded, or if 2 MiB\n"
    "             of memory are in more than mean=64 pieces on average, or max=256.\n"
    "  full       At cap=8 layers, merges all. 'cap=N' is short for 'full:cap=N'.\n"
    "  off        Never merges.\n"
    "Limits follow a colon: tiered:soft=8,hard=32,ratio=2,mean=64,max=256 or\n"
    "full:cap=8,hard=32. At 'hard' layers the next pause must wait for a merge.\n\n"
    "Exit codes: 0 done (or nothing to do), 1 failed, 2 usage, 3 not found,\n"
    "4 corrupt, 5 busy, 6 no space, 130 interrupted.";

struct CompactArguments {
  CompactOptions options;
  std::vector<std::string> snapshots;
  std::string store;
  bool no_daemon = false;
  bool json = false;
};

void print_report(const CompactReport& report, double elapsed_ms) {
  if (report.outcome == CompactOutcome::kNothing) {
    print_text("{}: {}, nothing to merge\n", report.snapshot,
               count_of(report.layers_before, "layer"));
  } else if (report.outcome == CompactOutcome::kDropped) {
    print_text("{}: dropped after {}\n", report.snapshot, count_of(report.attempts, "attempt"));
  } else {
    const bool planned = report.outcome == CompactOutcome::kPlanned;
    print_text("{}: {} {} {}, the {} youngest in one\n", report.snapshot,
               count_of(report.layers_before, "layer"), planned ? "would become" : "became",
               report.layers_after, report.merged_layers);
    print_text("  {} read and written ({} of it cloned), {} freed, {:.1f} ms\n",
               human_bytes(report.written_bytes), human_bytes(report.cloned_bytes),
               human_bytes(report.freed_bytes), elapsed_ms);
    if (report.duplicated_bytes > 0) {
      print_text("  {} {} in use by other directories, so this much is stored twice\n",
                 human_bytes(report.duplicated_bytes), planned ? "would stay" : "stay");
    }
  }
  if (report.next_pause_must_wait) {
    print_text("  the hard limit of {} is reached: merge before the next pause\n", report.policy);
  }
}

/// Compacts the snapshots one after the other.
class CompactRun {
 public:
  explicit CompactRun(CompactArguments& arguments) : arguments_(arguments) {
    arguments_.options.progress = &progress_;
  }

  int run() {
    const bool single = arguments_.snapshots.size() == 1;
    for (const std::string& snapshot : arguments_.snapshots) {
      const Stopwatch stopwatch;
      arguments_.options.snapshot = snapshot;
      const auto reply = request_compact(snapshot);
      const auto report = reply ? *reply : compact(arguments_.options);
      progress_.clear();
      if (!report && !arguments_.store.empty() && !std::filesystem::exists(snapshot)) {
        add_gone(snapshot);
        continue;
      }
      if (!report && single) return report_error(report.error(), arguments_.json);
      if (!report) {
        add_failure(snapshot, report.error());
        if (report.error().kind == ErrorKind::kInterrupted) break;
        continue;
      }
      print_notes(report->notes);
      if (report->outcome == CompactOutcome::kDropped && code_ == kExitDone) code_ = kExitBusy;
      if (arguments_.json) {
        shown_.push_back(schema::to_json(schema::CompactedAnswer{*report, stopwatch.elapsed_ms()}));
      } else {
        print_report(*report, stopwatch.elapsed_ms());
      }
    }
    if (arguments_.json) {
      print_json({{"message_type", "compact"},
                  {"policy", arguments_.options.policy},
                  {"dry_run", arguments_.options.dry_run},
                  {"snapshots", shown_},
                  {"exit_code", code_}});
    }
    return code_;
  }

 private:
  DaemonReply<CompactReport> request_compact(const std::string& path) {
    const auto snapshot = named_snapshot(path);
    if (!snapshot) return std::nullopt;
    const auto daemon = StoreDaemon::find(snapshot->store, arguments_.no_daemon);
    if (!daemon) return std::nullopt;
    return convert_reply(daemon->request<schema::CompactAnswer>(
                             "/v1/snapshots/" + percent_encoded(snapshot->name) + "/compact",
                             arguments_.options, &progress_),
                         [&](schema::CompactAnswer answer) {
                           answer.report.snapshot = path;
                           return std::move(answer.report);
                         });
  }

  /// The snapshot was removed after the store was listed.
  void add_gone(const std::string& snapshot) {
    if (!arguments_.json) print_text("{}: removed meanwhile\n", snapshot);
    shown_.push_back({{"snapshot", snapshot}, {"outcome", "gone"}});
  }

  void add_failure(const std::string& snapshot, const Error& error) {
    const int code = report_error(error, false);
    if (code_ == kExitDone) code_ = code;
    shown_.push_back({{"snapshot", snapshot},
                      {"outcome", "failed"},
                      {"message", one_line(error)},
                      {"notes", error.notes},
                      {"exit_code", code}});
  }

  CompactArguments& arguments_;
  ProgressBar progress_;
  nlohmann::ordered_json shown_ = nlohmann::ordered_json::array();
  int code_ = kExitDone;
};

int run(CompactArguments& arguments) {
  if (const Status known = check_merge_policy(arguments.options.policy); !known) {
    return report_error(known.error(), arguments.json);
  }
  if (arguments.store.empty() == arguments.snapshots.empty()) {
    return report_error({ErrorKind::kUsage, arguments.store.empty()
                                                ? "name the snapshots, or a store with --store"
                                                : "--store means all snapshots of a store, so none "
                                                  "can be named besides"},
                        arguments.json);
  }
  if (!arguments.store.empty()) {
    auto snapshots = snapshots_of(arguments.store);
    if (!snapshots) return report_error(snapshots.error(), arguments.json);
    arguments.snapshots = std::move(*snapshots);
    if (arguments.snapshots.empty() && !arguments.json) {
      print_text("{}: no snapshots\n", arguments.store);
    }
  }
  return CompactRun(arguments).run();
}

}  // namespace

Action add_compact(CLI::App& app) {
  auto arguments = std::make_shared<CompactArguments>();
  CLI::App* verb =
      add_verb(app, "compact", "merge the layers that a policy chooses", kCompactFooter);
  const auto not_empty = [](const std::string& text) {
    return text.empty() ? std::string("the value is empty") : std::string();
  };
  verb->add_option("SNAPSHOT", arguments->snapshots, "what to merge")
      ->check(CLI::Validator(not_empty, ""))
      ->option_text("...");
  add_text(verb, "--store", arguments->store, "all snapshots of a store instead", "DIR");
  OptionAdder adder(verb);
  schema::describe(adder, arguments->options);
  add_no_daemon(verb, arguments->no_daemon);
  verb->add_flag("--json", arguments->json, "print the result as JSON");
  return [arguments] { return run(*arguments); };
}

}  // namespace lamina::cli
