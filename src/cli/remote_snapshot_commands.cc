#include <fmt/format.h>

#include <charconv>
#include <memory>

#include "base/error.h"
#include "base/stopwatch.h"
#include "cli/command_line.h"
#include "cli/key_options.h"
#include "cli/output.h"
#include "cli/progress_bar.h"
#include "cli/store_daemon.h"
#include "cli/table.h"
#include "lamina/remote.h"
#include "schema/remote_reports.h"
#include "schema/remote_requests.h"
#include "schema/report_writer.h"

namespace lamina::cli {
namespace {

constexpr const char* kPushFooter =
    "Layers that the bucket has are not sent again. When the command ends with 0, the\n"
    "snapshot is whole in the bucket. If the name there has a newer state that the\n"
    "snapshot does not descend from, nothing is overwritten: the snapshot is pushed\n"
    "as NAME@PAUSE, and the command ends with 1. A push that failed can be repeated.\n\n"
    "URL: s3://BUCKET[/PREFIX][?OPTION=VALUE&...] or file:///DIRECTORY.\n\n"
    "Exit codes: 0 done, 1 failed, or a conflict, 2 usage, 3 not found, 4 corrupt,\n"
    "5 busy, 6 no space, 130 interrupted.";

constexpr const char* kPullFooter =
    "The snapshot is the same pause as the one that was pushed. Every block is\n"
    "checked. Layers that the store has are linked. The snapshot appears when it is\n"
    "complete and on the disk.\n\n"
    "With --cache-bytes, snapshots of the store that the bucket has too are removed\n"
    "if all of them would take more, those first that were not resumed for longest.\n"
    "The bucket is asked before each one. VMs and what was not pushed lose nothing.\n\n"
    "Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 corrupt, 5 busy,\n"
    "6 no space, 130 interrupted.";

constexpr const char* kRemoteLsFooter =
    "STORED: size of the objects that the snapshot needs; snapshots share them.\n\n"
    "Exit codes: 0 listed (damaged records with what is wrong), 1 failed, 2 usage,\n"
    "3 not found, 130 interrupted.";

constexpr const char* kRemoteDuFooter =
    "Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 corrupt,\n"
    "130 interrupted.";

constexpr const char* kRemoteRmFooter =
    "All states of the name are removed, and a small record of that stays. The\n"
    "objects stay until 'lamina remote prune'.\n\n"
    "Exit codes: 0 removed, 1 failed, 2 usage, 3 not found, 5 busy (changed\n"
    "meanwhile), 130 interrupted.";

constexpr const char* kRemotePruneFooter =
    "Removes older states by the rules that are given, then what nothing references.\n"
    "A state stays if one of the rules keeps it; the newest of a name always stays.\n"
    "Without rules only what nothing references is removed. Pushes and pulls may go\n"
    "on meanwhile. If anything cannot be read, nothing more is removed.\n\n"
    "TIME is a number and m, h, d or w: 90m, 36h, 14d, 8w.\n\n"
    "Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 corrupt,\n"
    "130 interrupted.";

constexpr const char* kRemoteVerifyFooter =
    "Asks for the size of every object. With --data, reads everything and compares\n"
    "each block with its checksum; of encrypted snapshots that needs the key.\n\n"
    "Exit codes: 0 intact, 1 failed, 2 usage, 3 not found, 4 corrupt,\n"
    "130 interrupted.";

template <typename Options>
struct RemoteArguments {
  Options options;
  bool by_daemon = false;
  bool json = false;
};

CLI::Option* add_by_daemon(CLI::App* verb, bool& by_daemon) {
  return verb->add_flag("--by-daemon", by_daemon, "let the store's daemon do it, with its own key");
}

/// Asks the daemon of `store`. Unlike other verbs, this one does not do the work itself if there is
/// none: it has other credentials.
template <typename Answer, typename Options>
Result<Answer> ask_daemon(const std::string& store, const char* target, const Options& options) {
  if (!options.key_file.empty() || !options.key_command.empty()) {
    return fail(ErrorKind::kUsage, "the daemon uses its own key: --by-daemon excludes others");
  }
  const auto daemon = StoreDaemon::find(store, false);
  auto reply =
      daemon ? daemon->request<Answer>(target, options, options.progress) : DaemonReply<Answer>();
  if (reply) return *std::move(reply);
  return with_remedy(
      fail(ErrorKind::kNotFound, "store '{}' has no daemon that can be asked", store),
      "start it, or leave out --by-daemon");
}

Result<PushReport> push_by_daemon(const PushOptions& options) {
  const auto snapshot = named_snapshot(options.snapshot);
  if (!snapshot) {
    return fail(ErrorKind::kUsage, "'{}' is not the path of a snapshot", options.snapshot);
  }
  LAMINA_ASSIGN_OR_RETURN(schema::PushAnswer answer,
                          ask_daemon<schema::PushAnswer>(snapshot->store, "/v1/push", options));
  answer.report.snapshot = snapshot->path;
  return std::move(answer.report);
}

Result<PullReport> pull_by_daemon(const PullOptions& options) {
  LAMINA_ASSIGN_OR_RETURN(schema::PullAnswer answer,
                          ask_daemon<schema::PullAnswer>(options.store, "/v1/pull", options));
  answer.report.snapshot = path_in_store(options.store, answer.report.snapshot);
  return std::move(answer.report);
}

CLI::Option* add_url(CLI::App* verb, std::string& url) {
  return add_text(verb, "URL", url, "the bucket: s3://... or file:///...")->required();
}

CLI::Option* add_count(CLI::App* verb, const std::string& name, std::optional<std::uint64_t>& value,
                       const std::string& help) {
  return verb
      ->add_option_function<std::uint64_t>(
          name, [&value](std::uint64_t given) { value = given; }, help)
      ->type_name("")
      ->option_text("N");
}

/// "36h": a number and a unit.
std::optional<std::chrono::seconds> parse_duration(const std::string& text) {
  std::uint32_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [unit, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc{} || unit + 1 != end) return std::nullopt;
  switch (*unit) {
    case 'm':
      return std::chrono::minutes(number);
    case 'h':
      return std::chrono::hours(number);
    case 'd':
      return std::chrono::days(number);
    case 'w':
      return std::chrono::weeks(number);
    default:
      return std::nullopt;
  }
}

void add_duration(CLI::App* verb, const std::string& name,
                  std::optional<std::chrono::seconds>& value, const std::string& help) {
  const auto choose = [&value, name](const std::string& given) {
    value = parse_duration(given);
    if (!value) throw CLI::ValidationError(name, "'" + given + "' is not a time such as 36h");
  };
  verb->add_option_function<std::string>(name, choose, help)->type_name("")->option_text("TIME");
}

/// Runs an operation with a progress bar, and prints its report.
template <typename Options, typename Operation, typename Print>
int run_remote(RemoteArguments<Options>& arguments, Operation operation, Print print) {
  const Stopwatch stopwatch;
  ProgressBar progress;
  arguments.options.progress = &progress;
  const auto report = operation(arguments.options);
  progress.clear();
  if (!report) {
    print_notes(report.error().notes);
    return report_error(report.error(), arguments.json);
  }
  return print(*report, stopwatch.elapsed_ms());
}

/// "12.3 MiB/s"
std::string rate_of(std::uint64_t bytes, double elapsed_ms) {
  const double seconds = std::max(elapsed_ms, 1.0) / 1000;
  return human_bytes(static_cast<std::uint64_t>(static_cast<double>(bytes) / seconds)) + "/s";
}

int print_push(const PushReport& report, double elapsed_ms, bool dry_run, bool json) {
  print_notes(report.notes);
  const int code = report.is_conflict ? kExitFailed : kExitDone;
  if (json) {
    auto document = schema::ReportWriter::write(schema::PushAnswer{report, elapsed_ms});
    if (dry_run) document["dry_run"] = true;
    print_json(std::move(document));
    return code;
  }
  if (dry_run && !report.is_already_there) {
    print_text("{}: would be pushed as '{}', number {}\n", report.snapshot, report.name,
               report.number);
    print_text("  {} to send ({} before compression), {} to reuse ({})\n",
               count_of(report.uploaded_objects, "object"), human_bytes(report.uploaded_bytes),
               report.reused_objects, human_bytes(report.reused_bytes));
    return code;
  }
  print_text("{}: {} as '{}', number {}\n", report.snapshot,
             report.is_already_there ? "is there already" : "pushed", report.name, report.number);
  if (report.is_already_there) return code;
  print_text("  {} sent ({}), {} reused ({}), {:.1f} ms, {}\n",
             count_of(report.uploaded_objects, "object"), human_bytes(report.uploaded_bytes),
             report.reused_objects, human_bytes(report.reused_bytes), elapsed_ms,
             rate_of(report.uploaded_bytes, elapsed_ms));
  return code;
}

int print_pull(const PullReport& report, double elapsed_ms, bool json) {
  print_notes(report.notes);
  if (json) {
    print_json(schema::ReportWriter::write(schema::PullAnswer{report, elapsed_ms}));
    return kExitDone;
  }
  print_text("{}: pulled '{}', number {}, pause {}, generation {}\n", report.snapshot, report.name,
             report.number, report.pause_id.to_string(), report.generation);
  print_text("  {} fetched ({} of data from {}), {} linked, {:.1f} ms, {}\n",
             count_of(report.fetched_layers, "layer"), human_bytes(report.data_bytes),
             human_bytes(report.fetched_bytes), report.linked_layers, elapsed_ms,
             rate_of(report.fetched_bytes, elapsed_ms));
  if (!report.evicted.empty()) {
    print_text("  {} evicted ({} freed): {}\n", count_of(report.evicted.size(), "snapshot"),
               human_bytes(report.evicted_bytes), fmt::join(report.evicted, ", "));
  }
  return kExitDone;
}

nlohmann::ordered_json json_of(const RemoteListing& listing) {
  nlohmann::ordered_json json = {{"name", listing.name}, {"number", listing.number}};
  if (listing.error) {
    json["error"] = listing.error->message;
    return json;
  }
  json["pause_id"] = listing.pause_id.to_string();
  if (listing.parent_pause_id) json["parent_pause_id"] = listing.parent_pause_id->to_string();
  json["created"] = listing.created;
  json["memory_bytes"] = listing.memory_bytes;
  json["objects"] = listing.objects;
  json["stored_bytes"] = listing.stored_bytes;
  json["encrypted"] = listing.encrypted;
  return json;
}

int print_remote_list(const RemoteListReport& report, bool json) {
  print_notes(report.notes);
  if (json) {
    auto snapshots = nlohmann::ordered_json::array();
    for (const RemoteListing& listing : report.snapshots) snapshots.push_back(json_of(listing));
    print_json({{"message_type", "remote_ls"}, {"snapshots", snapshots}, {"notes", report.notes}});
    return kExitDone;
  }
  Table table({{"NAME", Table::Align::kLeft},
               {"NUMBER", Table::Align::kRight},
               {"CREATED", Table::Align::kLeft},
               {"MEMORY", Table::Align::kRight},
               {"STORED", Table::Align::kRight},
               {"PAUSE", Table::Align::kLeft}});
  for (const RemoteListing& listing : report.snapshots) {
    if (listing.error) {
      table.add({listing.name + " (damaged)", std::to_string(listing.number), "-", "-", "-", "-"});
      print_message(listing.error->message);
      continue;
    }
    table.add({listing.name, std::to_string(listing.number), listing.created,
               human_bytes(listing.memory_bytes),
               human_bytes(listing.stored_bytes) + (listing.encrypted ? " (encrypted)" : ""),
               listing.pause_id.to_string()});
  }
  fmt::print("{}", table.text());
  return kExitDone;
}

int print_use(const RemoteUseReport& report, bool json) {
  print_notes(report.notes);
  if (json) {
    print_json({{"message_type", "remote_du"},
                {"snapshots", report.snapshots},
                {"objects", report.objects},
                {"object_bytes", report.object_bytes},
                {"referenced_objects", report.referenced_objects},
                {"referenced_bytes", report.referenced_bytes},
                {"record_bytes", report.record_bytes},
                {"pins", report.pins},
                {"tombstones", report.tombstones},
                {"other_keys", report.other_keys},
                {"notes", report.notes}});
    return kExitDone;
  }
  print_text("{}: {} in {}, {} of records\n", count_of(report.snapshots, "snapshot"),
             human_bytes(report.referenced_bytes), count_of(report.referenced_objects, "object"),
             human_bytes(report.record_bytes));
  print_text("  {} in {} that nothing references; {}, {}, {}\n",
             human_bytes(report.object_bytes - report.referenced_bytes),
             count_of(report.objects - report.referenced_objects, "object"),
             count_of(report.pins, "pin"), count_of(report.tombstones, "tombstone"),
             count_of(report.other_keys, "other key"));
  return kExitDone;
}

int print_remote_removal(const RemoteRemoveReport& report, bool dry_run, bool json) {
  print_notes(report.notes);
  if (json) {
    print_json({{"message_type", "remote_rm"},
                {"name", report.name},
                {"number", report.number},
                {"records", report.records},
                {"dry_run", dry_run},
                {"notes", report.notes}});
    return kExitDone;
  }
  print_text("{}: {} {}\n", report.name, dry_run ? "would remove" : "removed",
             count_of(report.records, "record"));
  return kExitDone;
}

int print_prune(const PruneReport& report, bool dry_run, bool json) {
  print_notes(report.notes);
  if (json) {
    print_json(schema::ReportWriter::write(schema::PruneAnswer{report, dry_run}));
    return kExitDone;
  }
  print_text("{} {}, {} ({}), {}; kept {}, {}\n", dry_run ? "would remove" : "removed",
             count_of(report.removed_records, "record"), count_of(report.removed_objects, "object"),
             human_bytes(report.removed_bytes), count_of(report.expired_pins, "expired pin"),
             count_of(report.kept_snapshots, "snapshot"), count_of(report.kept_objects, "object"));
  if (report.aborted_uploads > 0) {
    print_text("{} {} that nobody would complete\n", dry_run ? "would abort" : "aborted",
               count_of(report.aborted_uploads, "upload"));
  }
  return kExitDone;
}

int print_remote_verification(const RemoteVerifyReport& report, bool json) {
  print_notes(report.problems);
  const int code = report.is_intact() ? kExitDone : kExitCorrupt;
  if (json) {
    print_json({{"message_type", "remote_verify"},
                {"intact", report.is_intact()},
                {"snapshots", report.snapshots},
                {"objects", report.objects},
                {"object_bytes", report.object_bytes},
                {"checked_blocks", report.checked_blocks},
                {"problems", report.problems}});
    return code;
  }
  print_text("{}: {}, {} ({}), {} checked\n", report.is_intact() ? "intact" : "CORRUPT",
             count_of(report.snapshots, "snapshot"), count_of(report.objects, "object"),
             human_bytes(report.object_bytes), count_of(report.checked_blocks, "block"));
  return code;
}

}  // namespace

Action add_remote_push(CLI::App& app) {
  auto arguments = std::make_shared<RemoteArguments<PushOptions>>();
  PushOptions& options = arguments->options;
  CLI::App* verb = add_verb(app, "remote-push", "push a snapshot to a bucket", kPushFooter);
  add_url(verb, options.url);
  add_text(verb, "SNAPSHOT", options.snapshot, "what to push: STORE/NAME")->required();
  add_text(verb, "--as", options.name, "name in the bucket (that of the snapshot)", "NAME");
  add_choice(verb, "--codec", options.codec, "how to compress (zstd)");
  add_key_options(verb, options, "encrypt");
  verb->add_flag("--replace", options.replace, "publish after the newest state, whatever that is");
  CLI::Option* dry_run =
      verb->add_flag("--dry-run", options.dry_run, "only say what would be sent");
  add_by_daemon(verb, arguments->by_daemon)->excludes(dry_run);
  verb->add_flag("--json", arguments->json, "print the result as JSON");
  return [arguments] {
    const auto operation = arguments->by_daemon ? push_by_daemon : push_snapshot;
    return run_remote(*arguments, operation, [&](const PushReport& report, double elapsed_ms) {
      return print_push(report, elapsed_ms, arguments->options.dry_run, arguments->json);
    });
  };
}

Action add_remote_pull(CLI::App& app) {
  auto arguments = std::make_shared<RemoteArguments<PullOptions>>();
  PullOptions& options = arguments->options;
  CLI::App* verb = add_verb(app, "remote-pull", "pull a snapshot from a bucket", kPullFooter);
  add_url(verb, options.url);
  add_text(verb, "NAME", options.name, "name in the bucket")->required();
  add_text(verb, "--store", options.store, "directory of the store", "DIR")->required();
  add_text(verb, "--as", options.as, "name of the new snapshot (the same)", "NAME");
  add_key_options(verb, options, "decrypt");
  CLI::Option* bound = add_count(verb, "--cache-bytes", options.cache_bytes,
                                 "remove what the bucket has too above N bytes");
  add_by_daemon(verb, arguments->by_daemon)->excludes(bound);
  verb->add_flag("--json", arguments->json, "print the result as JSON");
  return [arguments] {
    const auto operation = arguments->by_daemon ? pull_by_daemon : pull_snapshot;
    return run_remote(*arguments, operation, [&](const PullReport& report, double elapsed_ms) {
      return print_pull(report, elapsed_ms, arguments->json);
    });
  };
}

Action add_remote_ls(CLI::App& app) {
  auto arguments = std::make_shared<RemoteArguments<RemoteListOptions>>();
  RemoteListOptions& options = arguments->options;
  CLI::App* verb = add_verb(app, "remote-ls", "list the snapshots of a bucket", kRemoteLsFooter);
  add_url(verb, options.url);
  verb->add_flag("--all", options.all, "older states too");
  verb->add_flag("--json", arguments->json, "print the result as JSON");
  return [arguments] {
    return run_remote(*arguments, list_remote, [&](const RemoteListReport& report, double) {
      return print_remote_list(report, arguments->json);
    });
  };
}

Action add_remote_du(CLI::App& app) {
  auto arguments = std::make_shared<RemoteArguments<RemoteUseOptions>>();
  CLI::App* verb = add_verb(app, "remote-du", "add up what a bucket has", kRemoteDuFooter);
  add_url(verb, arguments->options.url);
  verb->add_flag("--json", arguments->json, "print the result as JSON");
  return [arguments] {
    return run_remote(*arguments, use_of_remote, [&](const RemoteUseReport& report, double) {
      return print_use(report, arguments->json);
    });
  };
}

Action add_remote_rm(CLI::App& app) {
  auto arguments = std::make_shared<RemoteArguments<RemoteRemoveOptions>>();
  RemoteRemoveOptions& options = arguments->options;
  CLI::App* verb = add_verb(app, "remote-rm", "remove a snapshot from a bucket", kRemoteRmFooter);
  add_url(verb, options.url);
  add_text(verb, "NAME", options.name, "name in the bucket")->required();
  verb->add_flag("--dry-run", options.dry_run, "only say what would be removed");
  verb->add_flag("--json", arguments->json, "print the result as JSON");
  return [arguments] {
    return run_remote(*arguments, remove_remote, [&](const RemoteRemoveReport& report, double) {
      return print_remote_removal(report, arguments->options.dry_run, arguments->json);
    });
  };
}

Action add_remote_prune(CLI::App& app) {
  auto arguments = std::make_shared<RemoteArguments<PruneOptions>>();
  PruneOptions& options = arguments->options;
  CLI::App* verb =
      add_verb(app, "remote-prune", "remove what is not needed from a bucket", kRemotePruneFooter);
  add_url(verb, options.url);
  add_count(verb, "--keep-last", options.keep_last, "keep the newest N states of a name");
  add_count(verb, "--keep-daily", options.keep_daily, "keep the newest state of N days (UTC)");
  add_duration(verb, "--keep-within", options.keep_within, "keep the states of the last TIME");
  add_text(verb, "--names", options.pattern, "apply the rules to these names only (*)", "PATTERN");
  verb->add_flag("--dry-run", options.dry_run, "only say what would be removed");
  verb->add_flag("--json", arguments->json, "print the result as JSON");
  return [arguments] {
    return run_remote(*arguments, prune_remote, [&](const PruneReport& report, double) {
      return print_prune(report, arguments->options.dry_run, arguments->json);
    });
  };
}

Action add_remote_verify(CLI::App& app) {
  auto arguments = std::make_shared<RemoteArguments<RemoteVerifyOptions>>();
  RemoteVerifyOptions& options = arguments->options;
  CLI::App* verb =
      add_verb(app, "remote-verify", "check the snapshots of a bucket", kRemoteVerifyFooter);
  add_url(verb, options.url);
  add_text(verb, "NAME", options.name, "only this one");
  verb->add_flag("--data", options.data, "read and check everything");
  add_key_options(verb, options, "decrypt");
  verb->add_flag("--json", arguments->json, "print the result as JSON");
  return [arguments] {
    return run_remote(*arguments, verify_remote, [&](const RemoteVerifyReport& report, double) {
      return print_remote_verification(report, arguments->json);
    });
  };
}

}  // namespace lamina::cli
