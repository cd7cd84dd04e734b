#include "base/error.h"
#include "base/stopwatch.h"
#include "daemon/api.h"
#include "daemon/requests.h"
#include "lamina/compact.h"
#include "lamina/fork.h"
#include "lamina/inspect.h"
#include "lamina/listing.h"
#include "lamina/remove.h"
#include "schema/report_json.h"

namespace lamina::daemon {

Response Api::fork(const Request& request, const std::string& /*name*/) const {
  const Stopwatch stopwatch;
  auto requested = read_fork(request, parts_.store);
  if (!requested) return error_response(requested.error());
  if (auto refused = refuse_other_store(requested->store)) return *std::move(refused);
  auto report = fork_snapshot(requested->options);
  parts_.metrics.count_fork(report.has_value());
  parts_.status.changed();
  if (!report) {
    Json event = {{"source", name_of(requested->options.snapshot)},
                  {"snapshot", name_of(requested->options.fork)},
                  {"outcome", "failed"}};
    event.update(error_fields(report.error()));
    parts_.events.add(Level::kWarning, "fork", event);
    return error_response(report.error());
  }
  report->fork = name_of(report->fork);
  parts_.pusher.added(report->fork, report->pause_id);
  const Json document = schema::to_json(schema::ForkAnswer{*report, stopwatch.elapsed_ms()});
  parts_.events.add(Level::kInfo, "fork",
                    {{"source", name_of(requested->options.snapshot)},
                     {"snapshot", report->fork},
                     {"outcome", "done"},
                     {"pause_id", report->pause_id.to_string()}});
  return json_response(document);
}

Response Api::list(const Request& request, const std::string& /*name*/) const {
  const auto tree = read_list(request);
  if (!tree) return error_response(tree.error());
  const auto listing = list_store(parts_.store);
  if (!listing) return error_response(listing.error());
  return json_response(schema::to_json(schema::answer_of(*listing, *tree)));
}

Response Api::inspect(const Request& request, const std::string& name) const {
  if (const Status good = check_no_fields(request); !good) return error_response(good.error());
  const auto path = snapshot_path(parts_.store, name);
  if (!path) return error_response(path.error());
  const auto info = lamina::inspect(*path);
  if (!info) return error_response(info.error());
  return json_response(schema::to_json(schema::answer_of(*info, false)));
}

Response Api::remove(const Request& request, const std::string& name) const {
  const auto options = read_remove(request, name, parts_.store);
  if (!options) return error_response(options.error());
  auto report = remove_snapshots(*options);
  if (!report) return error_response(report.error());
  RemovedSnapshot& removed = report->snapshots.front();
  removed.snapshot = name_of(removed.snapshot);
  if (!options->dry_run) record_removal(removed);
  if (removed.error) return error_response(*removed.error);
  return json_response(schema::to_json(schema::RemovalAnswer{
      schema::answer_of(removed, options->dry_run), std::move(report->notes), options->dry_run}));
}

Response Api::remove_several(const Request& request, const std::string& /*name*/) const {
  auto requested = read_remove_several(request, parts_.store);
  if (!requested) return error_response(requested.error());
  if (auto refused = refuse_other_store(requested->store)) return *std::move(refused);
  const bool dry_run = requested->options.dry_run;
  auto report = remove_snapshots(requested->options);
  if (!report) return error_response(report.error());
  for (RemovedSnapshot& removed : report->snapshots) removed.snapshot = name_of(removed.snapshot);
  if (!dry_run) {
    for (const RemovedSnapshot& removed : report->snapshots) record_removal(removed);
  }
  return json_response(schema::to_json(schema::answer_of(std::move(*report), dry_run)));
}

/// Counts one removal, and adds its event.
void Api::record_removal(const RemovedSnapshot& removed) const {
  parts_.metrics.count_removal(!removed.error);
  if (removed.error) return;
  parts_.merger.removed(removed.snapshot);
  parts_.pusher.removed(removed.snapshot);
  parts_.status.changed();
  Json event = {{"name", removed.snapshot}};
  event.update(schema::to_json(schema::answer_of(removed, false)));
  parts_.events.add(Level::kInfo, "delete", event);
}

Response Api::compact(const Request& request, const std::string& name) const {
  const Stopwatch stopwatch;
  auto requested = read_compact(request, parts_.policy());
  if (!requested) return error_response(requested.error());
  if (auto refused = refuse_other_store(requested->store)) return *std::move(refused);
  CompactOptions& options = requested->options;
  const auto path = snapshot_path(parts_.store, name);
  if (!path) return error_response(path.error());
  options.snapshot = *path;
  auto report = lamina::compact(options);
  if (!options.dry_run) parts_.metrics.count_merge(report);
  parts_.status.changed();
  if (!report) return error_response(report.error());
  const double elapsed_ms = stopwatch.elapsed_ms();
  report->snapshot = name;
  const Json document =
      schema::to_json(schema::CompactAnswer{*report, options.dry_run, elapsed_ms});
  if (options.dry_run) return json_response(document);
  parts_.merger.compacted(name, *report);
  if (report->outcome != CompactOutcome::kNothing) {
    Json event = {{"name", name}};
    event.update(schema::to_json(schema::CompactedAnswer{*report, elapsed_ms}));
    parts_.events.add(Level::kInfo, "merge", event);
  }
  return json_response(document);
}

Response Api::sessions(const Request& request, const std::string& /*name*/) const {
  if (const Status good = check_no_fields(request); !good) return error_response(good.error());
  const auto listing = list_store(parts_.store);
  if (!listing) return error_response(listing.error());
  schema::SessionsAnswer answer;
  for (const PinListing& pin : listing->pins) {
    if (pin.running || pin.error) answer.sessions.push_back(pin);
  }
  return json_response(schema::to_json(answer));
}

}  // namespace lamina::daemon
