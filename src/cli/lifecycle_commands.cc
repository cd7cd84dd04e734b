// The verbs pause, resume and recover.
#include <fmt/format.h>

#include <chrono>
#include <memory>
#include <utility>

#include "base/error.h"
#include "cli/command_line.h"
#include "cli/key_options.h"
#include "cli/lifecycle_requests.h"
#include "cli/option_adder.h"
#include "cli/output.h"
#include "cli/progress_bar.h"
#include "cli/store_daemon.h"
#include "lamina/lifecycle.h"
#include "lamina/remote.h"
#include "os/directory.h"
#include "os/path_walk.h"
#include "os/process.h"
#include "schema/report_json.h"
#include "schema/requests.h"

namespace lamina::cli {
namespace {

constexpr const char* kPauseFooter =
    "Takes a diff if the VM's base is on record and can be trusted, else a full\n"
    "memory file. The output says which, and why. The hook runs while the VM is\n"
    "frozen, with LAMINA_STORE, LAMINA_NAME, LAMINA_PAUSE_ID and LAMINA_API_SOCKET\n"
    "set. If it fails, the state is kept as NAME@PAUSE-ID.\n\n"
    "A state that Firecracker has acknowledged is not lost: if it cannot be\n"
    "completed it stays queued, and the VM's next pause or 'lamina recover'\n"
    "completes it.\n\n"
    "With --after resume a diff is written to memory if it fits, and the VM runs on\n"
    "before it is on the disk; the command ends when it is. A power failure before\n"
    "that leaves the snapshot before.\n\n"
    "If a daemon keeps the store, it does the pause; but not with a hook, which runs\n"
    "with the caller's rights and in the caller's directory.\n\n"
    "Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 corrupt, 5 busy,\n"
    "6 no space, 130 interrupted.";

constexpr const char* kResumeFooter =
    "Loads the snapshot into a Firecracker that was just started. A pin links the\n"
    "snapshot's files: it may be replaced, merged or removed while the VM runs. Any\n"
    "number of VMs may be resumed from one snapshot. With --mode uffd the store's\n"
    "page server is started if none runs, and goes on running. If a daemon keeps the\n"
    "store, it does the resume.\n\n"
    "With --remote, a snapshot that the store does not have is pulled: the VM runs at\n"
    "once, blocks that it touches are fetched first, the rest behind them. With\n"
    "--mode file everything is pulled first.\n\n"
    "Needs Firecracker 1.7; for --network-override 1.12; for --vsock-override and\n"
    "--clock-realtime 1.16; for --huge-pages 1.17. A VM on 2 MiB pages (hugetlbfs)\n"
    "can be resumed with --mode uffd only.\n\n"
    "--drive-override, --serial-override and --console-override need Cloud\n"
    "Hypervisor. A VM of it that would write a file which another process writes is\n"
    "refused: clones need files of their own.\n\n"
    "Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 corrupt, 5 busy,\n"
    "6 no space, 130 interrupted.";

constexpr const char* kRecoverFooter =
    "Completes pauses that Firecracker has acknowledged, discards others, resumes\n"
    "VMs that a pause has left frozen, removes pins of VMs that have ended and\n"
    "memory files that no VM maps, and starts the page server if VMs need it. Can be\n"
    "run at any time, also while the store is in use. If a daemon keeps the store,\n"
    "it does the recovery.\n\n"
    "Lists snapshots that are still being fetched from a bucket, and removes those\n"
    "that no VM runs from, nobody fetches and nobody is about to resume.\n\n"
    "Pins and pauses that came with a copy of another store, or that another host\n"
    "wrote, are left alone. --adopt-store makes them this store's: it completes\n"
    "pauses whose files are all here, and removes pins. It touches no process, jail\n"
    "or path of the other store. Use it if the other store is gone, or if this copy\n"
    "is used by itself.\n\n"
    "Exit codes: 0 done, 1 failed or something stays queued, 2 usage, 3 not found,\n"
    "4 corrupt, 5 busy, 6 no space, 130 interrupted.";

struct PauseArguments {
  PauseOptions options;
  bool no_daemon = false;
  bool json = false;
};

void print_pause(const PauseReport& report, bool json) {
  if (json) return print_json(schema::to_json(report));
  print_text("{}: {} ({}), generation {}\n", report.snapshot, report.is_diff ? "diff" : "full",
             report.reason, report.generation);
  print_text("  {} stored of {} of memory", human_bytes(report.stored_bytes),
             human_bytes(report.memory_bytes));
  if (report.unchanged_bytes > 0) {
    print_text(", {} written unchanged", human_bytes(report.unchanged_bytes));
  }
  const PausePhases& phases = report.phases;
  print_text("\n  pause {:.1f} ms, create {:.1f}, journal {:.1f}", phases.pause_ms,
             phases.create_ms, phases.journal_ms);
  if (phases.frozen_ms > 0) print_text(", frozen {:.1f} in all", phases.frozen_ms);
  print_text("; complete {:.1f}, publish {:.1f}; on the disk after {:.1f}\n", phases.complete_ms,
             phases.publish_ms, phases.durable_ms);
  print_text("  written to {} ({})\n", report.place == PausePlace::kMemory ? "memory" : "the disk",
             report.place_reason);
}

int run_pause(PauseArguments& arguments) {
  ProgressBar progress;
  arguments.options.progress = &progress;
  arguments.options.page_server_command = page_server_command(arguments.options.store);
  const auto reply = request_pause(arguments.options, arguments.no_daemon, progress);
  const auto report = reply ? *reply : pause(arguments.options);
  progress.clear();
  if (!report) return report_error(report.error(), arguments.json);
  print_notes(report->notes);
  print_pause(*report, arguments.json);
  return kExitDone;
}

struct ResumeArguments {
  ResumeOptions options;
  LazyPullOptions pull;
  bool no_daemon = false;
  bool json = false;
};

void print_resume(const ResumeReport& report, bool json) {
  if (json) return print_json(schema::to_json(report));
  print_text("{}: process {} runs on, by {} ({})\n", report.snapshot, report.pid,
             report.mode == ResumeMode::kFile ? "file" : "page faults", report.reason);
  print_text("  resume {}, clone {}; generation device: {}\n", report.resume_id.to_string(),
             report.clone_number, report.generation_device);
  print_text("  pin {:.1f} ms, prepare {:.1f}, load {:.1f}, resume {:.1f}\n", report.pin_ms,
             report.prepare_ms, report.load_ms, report.resume_ms);
}

/// Pulls what is resumed: of a VM whose memory is a file, all of it.
Result<LazyPullReport> pull_to_resume(ResumeArguments& arguments) {
  LazyPullOptions& lazy = arguments.pull;
  lazy.pull.store = arguments.options.store;
  lazy.pull.name = arguments.options.name;
  const std::string program = os::own_program();
  if (!program.empty()) lazy.fetch_command = {program, "remote", "fetch"};
  ProgressBar progress;
  lazy.pull.progress = &progress;
  LAMINA_ASSIGN_OR_RETURN(LazyPullReport report, begin_pull(lazy));
  if (report.is_arriving && arguments.options.mode == ResumeMode::kFile) {
    LAMINA_ASSIGN_OR_RETURN(report.pull, pull_snapshot(lazy.pull));
  }
  progress.clear();
  return report;
}

int run_resume(ResumeArguments& arguments) {
  ResumeOptions& options = arguments.options;
  std::shared_ptr<const void> hold;  // until the VM is resumed
  if (!arguments.pull.pull.url.empty()) {
    const auto pulled = pull_to_resume(arguments);
    if (!pulled) return report_error(pulled.error(), arguments.json);
    print_notes(pulled->pull.notes);
    hold = pulled->hold;
  }
  options.page_server_command = page_server_command(options.store);
  ProgressBar progress;
  options.progress = &progress;
  const auto reply = request_resume(options, arguments.no_daemon, progress);
  const auto report = reply ? *reply : resume(options);
  progress.clear();
  if (!report) return report_error(report.error(), arguments.json);
  print_notes(report->notes);
  print_resume(*report, arguments.json);
  return kExitDone;
}

void add_remote_options(CLI::App* verb, LazyPullOptions& lazy) {
  CLI::Option* url =
      add_text(verb, "--remote", lazy.pull.url, "pull from this bucket while the VM runs", "URL");
  add_key_options(verb, lazy.pull, "decrypt");
  verb->add_option_function<std::uint32_t>(
          "--wait-limit",
          [&lazy](std::uint32_t seconds) { lazy.wait_limit = std::chrono::seconds(seconds); },
          "kill if a block takes longer (3600; 0: never)")
      ->type_name("")
      ->option_text("SECONDS")
      ->needs(url);
  verb->add_option_function<std::uint64_t>(
          "--cache-bytes", [&lazy](std::uint64_t bytes) { lazy.pull.cache_bytes = bytes; },
          "remove what the bucket has too above N bytes")
      ->type_name("")
      ->option_text("N")
      ->needs(url);
}

struct RecoverArguments {
  RecoverOptions options;
  bool no_daemon = false;
  bool json = false;
};

/// Who uses an arriving snapshot, and what became of it.
std::string describe_use(const ArrivalReport& arrival, bool is_dry_run) {
  const std::string use =
      fmt::format("{}, {} fetcher{}", count_of(arrival.vms, "VM"), arrival.has_fetcher ? 1 : 0,
                  arrival.is_being_resumed ? ", is being resumed" : "");
  if (!arrival.is_removed) return use + ": left alone";
  return use + (is_dry_run ? ": would be removed" : ": removed, to be pulled again");
}

void print_arrivals(const RecoverReport& report, bool is_dry_run) {
  for (const ArrivalReport& arrival : report.arrivals) {
    print_text("arriving {} ({}): {} of {} frames, {} here{}; {}\n", arrival.id.to_string(),
               arrival.name.empty() ? "unreadable" : arrival.name, arrival.frames_here,
               arrival.frames, human_bytes(arrival.bytes),
               arrival.is_lost ? ", the rest is lost" : "", describe_use(arrival, is_dry_run));
  }
}

int run_recover(RecoverArguments& arguments) {
  arguments.options.page_server_command = page_server_command(arguments.options.store);
  ProgressBar progress;
  arguments.options.progress = &progress;
  const auto reply = request_recover(arguments.options, arguments.no_daemon);
  const auto report = reply ? *reply : recover(arguments.options);
  progress.clear();
  if (!report) return report_error(report.error(), arguments.json);
  print_notes(report->notes);
  if (arguments.json) {
    print_json(schema::to_json(schema::RecoverAnswer{*report, arguments.options.dry_run}));
  } else {
    print_text("{}{} completed, {} discarded, {} queued; {} and {} removed\n",
               arguments.options.dry_run ? "would be: " : "", count_of(report->completed, "pause"),
               report->discarded, report->queued, count_of(report->released_pins, "pin"),
               count_of(report->removed_maps, "materialized file"));
    print_arrivals(*report, arguments.options.dry_run);
    if (report->adopted > 0) {
      fmt::print("{}{} of another store made this store's\n",
                 arguments.options.dry_run ? "would be: " : "",
                 count_of(report->adopted, "record"));
    }
  }
  if (report->foreign > 0) {
    print_notes({fmt::format(
        "{} of another store, or another host, not acted upon (see lamina ls "
        "{}); if the other one is gone, or this is a copy to be used by "
        "itself: lamina recover {} --adopt-store",
        count_of(report->foreign, "record"), arguments.options.store, arguments.options.store)});
  }
  return report->queued == 0 ? kExitDone : kExitFailed;
}

}  // namespace

Action add_pause(CLI::App& app) {
  auto arguments = std::make_shared<PauseArguments>();
  CLI::App* verb = add_verb(app, "pause", "pause a VM into a store", kPauseFooter);
  OptionAdder adder(verb);
  schema::describe(adder, arguments->options);
  add_no_daemon(verb, arguments->no_daemon);
  verb->add_flag("--json", arguments->json, "print the result as JSON");
  return [arguments] { return run_pause(*arguments); };
}

Action add_resume(CLI::App& app) {
  auto arguments = std::make_shared<ResumeArguments>();
  CLI::App* verb = add_verb(app, "resume", "resume a VM from a store", kResumeFooter);
  OptionAdder adder(verb);
  schema::describe(adder, arguments->options);
  add_remote_options(verb, arguments->pull);
  add_no_daemon(verb, arguments->no_daemon);
  verb->add_flag("--json", arguments->json, "print the result as JSON");
  return [arguments] { return run_resume(*arguments); };
}

Action add_recover(CLI::App& app) {
  auto arguments = std::make_shared<RecoverArguments>();
  CLI::App* verb = add_verb(app, "recover", "recover a store after a crash", kRecoverFooter);
  OptionAdder adder(verb, "STORE");
  schema::describe(adder, arguments->options);
  add_no_daemon(verb, arguments->no_daemon);
  verb->add_flag("--json", arguments->json, "print the result as JSON");
  return [arguments] { return run_recover(*arguments); };
}

}  // namespace lamina::cli
