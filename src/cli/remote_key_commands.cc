#include <fmt/format.h>

#include <memory>

#include "base/error.h"
#include "cli/command_line.h"
#include "cli/key_options.h"
#include "cli/output.h"
#include "cli/progress_bar.h"
#include "cli/table.h"
#include "lamina/remote_keys.h"
#include "schema/remote_key_reports.h"
#include "schema/report_writer.h"

namespace lamina::cli {
namespace {

constexpr const char* kKeysLsFooter =
    "KEY is \"file:\" and 16 digits that depend on the key, or \"command\" for all key\n"
    "commands, or \"-\" for what is not encrypted. NEWEST: states that a pull gets.\n\n"
    "Exit codes: 0 listed, 1 failed, 2 usage, 3 not found, 4 records cannot be read,\n"
    "130 interrupted.";

constexpr const char* kKeysRotateFooter =
    "Each newest state that has the old key is published again with its keys wrapped\n"
    "by the new one; no data is sent. Older states with the old key are removed, as\n"
    "they could not be read without it. Pushes and pulls may go on. Repeat it until\n"
    "it ends with 0: then nothing in the bucket needs the old key. A holder of the\n"
    "old key with a copy of an old record can still read that record's objects.\n\n"
    "Exit codes: 0 done, 1 failed, or the old key is still needed, 2 usage,\n"
    "3 not found, 4 corrupt, 130 interrupted.";

constexpr const char* kKeysDestroyFooter =
    "Removes every state whose keys KEY wraps, so that nobody can read its objects.\n"
    "The key itself is not needed. This cannot be undone: try --dry-run first.\n"
    "The objects stay, unreadable, until 'lamina remote prune'. Copies of the bucket\n"
    "(versions, replicas, backups) are not reached: destroy the key itself too.\n\n"
    "Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 corrupt, 5 busy,\n"
    "130 interrupted.";

template <typename Options>
struct KeyArguments {
  Options options;
  bool states = false;
  bool yes = false;
  bool json = false;
};

/// Runs an operation with a progress bar, and prints its report.
template <typename Options, typename Operation, typename Print>
int run_on_keys(KeyArguments<Options>& arguments, Operation operation, Print print) {
  ProgressBar progress;
  arguments.options.progress = &progress;
  const auto report = operation(arguments.options);
  progress.clear();
  if (report) return print(*report);
  print_notes(report.error().notes);
  return report_error(report.error(), arguments.json);
}

int print_states(const RemoteKeysReport& report) {
  Table table({{"KEY", Table::Align::kLeft},
               {"NAME", Table::Align::kLeft},
               {"NUMBER", Table::Align::kRight},
               {"NEWEST", Table::Align::kLeft},
               {"OBJECTS", Table::Align::kRight},
               {"STORED", Table::Align::kRight}});
  for (const RemoteKeyUse& key : report.keys) {
    for (const KeyedState& state : key.states) {
      table.add({key.key_id.empty() ? "-" : key.key_id, state.name, std::to_string(state.number),
                 state.is_newest ? "yes" : "no", std::to_string(state.objects),
                 human_bytes(state.stored_bytes)});
    }
  }
  fmt::print("{}", table.text());
  return kExitDone;
}

int print_keys(const RemoteKeysReport& report, bool states, bool json) {
  print_notes(report.problems);
  const int code = report.problems.empty() ? kExitDone : kExitCorrupt;
  if (json) {
    print_json(schema::ReportWriter::write(report));
    return code;
  }
  if (states) {
    print_states(report);
    return code;
  }
  Table table({{"KEY", Table::Align::kLeft},
               {"NEWEST", Table::Align::kRight},
               {"STATES", Table::Align::kRight},
               {"OBJECTS", Table::Align::kRight},
               {"STORED", Table::Align::kRight}});
  for (const RemoteKeyUse& key : report.keys) {
    table.add({(key.key_id.empty() ? "-" : key.key_id) + (key.is_given ? " (given)" : ""),
               std::to_string(key.newest_states), std::to_string(key.states.size()),
               std::to_string(key.objects), human_bytes(key.object_bytes)});
  }
  fmt::print("{}", table.text());
  return code;
}

int print_rotation(const RotateKeyReport& report, bool dry_run, bool json) {
  print_notes(report.problems);
  const bool is_done = dry_run ? report.problems.empty() : report.is_complete();
  const int code = is_done ? kExitDone : kExitFailed;
  if (json) {
    print_json(schema::ReportWriter::write(schema::RotateKeyAnswer{report, dry_run}));
    return code;
  }
  print_text("{} {} ({}) from {} to {}; {} {}\n", dry_run ? "would rotate" : "rotated",
             count_of(report.rotated_states, "snapshot"), human_bytes(report.rotated_bytes),
             report.old_key_id, report.key_id, dry_run ? "would remove" : "removed",
             count_of(report.removed_states, "older state"));
  if (report.kept_states > 0) {
    print_text("  {} still {} the old key\n", count_of(report.kept_states, "older state"),
               report.kept_states == 1 ? "needs" : "need");
  }
  return code;
}

int print_destruction(const DestroyKeyReport& report, bool dry_run, bool json) {
  print_notes(report.notes);
  if (json) {
    print_json(schema::ReportWriter::write(schema::DestroyKeyAnswer{report, dry_run}));
    return kExitDone;
  }
  for (const std::string& name : report.lost_names) {
    print_text("{}: {}\n", name, dry_run ? "would be lost" : "lost");
  }
  print_text("{} {}; {} ({}) {} unreadable\n", dry_run ? "would remove" : "removed",
             count_of(report.removed_states, "state"), count_of(report.lost_objects, "object"),
             human_bytes(report.lost_bytes), dry_run ? "would be" : "are");
  return kExitDone;
}

CLI::Option* add_bucket(CLI::App* verb, std::string& url) {
  return add_text(verb, "URL", url, "the bucket: s3://... or file:///...")->required();
}

}  // namespace

Action add_remote_keys_ls(CLI::App& app) {
  auto arguments = std::make_shared<KeyArguments<RemoteKeysOptions>>();
  RemoteKeysOptions& options = arguments->options;
  CLI::App* verb =
      add_verb(app, "remote-keys-ls", "list the keys that a bucket needs", kKeysLsFooter);
  add_bucket(verb, options.url);
  add_text(verb, "--key-file", options.key_file, "mark the key in FILE", "FILE");
  verb->add_flag("--states", arguments->states, "list each state with its key");
  verb->add_flag("--json", arguments->json, "print the result as JSON");
  return [arguments] {
    return run_on_keys(*arguments, list_remote_keys, [&](const RemoteKeysReport& report) {
      return print_keys(report, arguments->states, arguments->json);
    });
  };
}

Action add_remote_keys_rotate(CLI::App& app) {
  auto arguments = std::make_shared<KeyArguments<RotateKeyOptions>>();
  RotateKeyOptions& options = arguments->options;
  CLI::App* verb = add_verb(app, "remote-keys-rotate", "exchange the key of what a bucket has",
                            kKeysRotateFooter);
  add_bucket(verb, options.url);
  CLI::Option* old_file =
      add_text(verb, "--old-key-file", options.old_key_file, "the old key is in FILE", "FILE");
  add_text(verb, "--old-key-command", options.old_key_command, "COMMAND unwraps with the old key",
           "COMMAND")
      ->excludes(old_file);
  add_key_options(verb, options, "encrypt");
  add_text(verb, "--names", options.pattern, "only these names (*)", "PATTERN");
  verb->add_flag("--keep-older", options.keep_older, "keep older states, with the old key");
  verb->add_flag("--dry-run", options.dry_run, "only say what would be done");
  verb->add_flag("--json", arguments->json, "print the result as JSON");
  return [arguments] {
    return run_on_keys(*arguments, rotate_remote_key, [&](const RotateKeyReport& report) {
      return print_rotation(report, arguments->options.dry_run, arguments->json);
    });
  };
}

Action add_remote_keys_destroy(CLI::App& app) {
  auto arguments = std::make_shared<KeyArguments<DestroyKeyOptions>>();
  DestroyKeyOptions& options = arguments->options;
  CLI::App* verb = add_verb(app, "remote-keys-destroy", "make all that a key wraps unreadable",
                            kKeysDestroyFooter);
  add_bucket(verb, options.url);
  add_text(verb, "KEY", options.key_id, "its id, as 'remote keys ls' lists it")->required();
  CLI::Option* dry_run =
      verb->add_flag("--dry-run", options.dry_run, "only say what would be lost");
  verb->add_flag("--yes", arguments->yes, "really destroy it")->excludes(dry_run);
  verb->add_flag("--json", arguments->json, "print the result as JSON");
  return [arguments] {
    if (!arguments->yes && !arguments->options.dry_run) {
      const auto refused =
          with_remedy(fail(ErrorKind::kUsage, "nothing was destroyed: that cannot be undone"),
                      "look at what would be lost with --dry-run, then repeat it with --yes");
      return report_error(refused.error(), arguments->json);
    }
    return run_on_keys(*arguments, destroy_remote_key, [&](const DestroyKeyReport& report) {
      return print_destruction(report, arguments->options.dry_run, arguments->json);
    });
  };
}

}  // namespace lamina::cli
