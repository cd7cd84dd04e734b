#include <chrono>

#include "base/error.h"
#include "daemon/api.h"
#include "lamina/compact.h"
#include "lamina/fork.h"
#include "lamina/inspect.h"
#include "lamina/listing.h"
#include "lamina/remove.h"
#include "report/snapshot_json.h"
#include "report/store_json.h"

namespace lamina::daemon {
namespace {

double ms_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
      .count();
}

Status read_nothing(const Request& request) {
  LAMINA_ASSIGN_OR_RETURN(Fields fields, Fields::of_query(request));
  return fields.end();
}

Result<ForkOptions> read_fork(const Request& request, const std::string& store) {
  ForkOptions options;
  LAMINA_ASSIGN_OR_RETURN(Fields fields, Fields::of_body(request));
  fields.text("snapshot", options.snapshot, Need::kMust);
  fields.text("new", options.fork, Need::kMust);
  LAMINA_RETURN_IF_ERROR(fields.end());
  LAMINA_ASSIGN_OR_RETURN(options.snapshot, snapshot_path(store, options.snapshot));
  LAMINA_ASSIGN_OR_RETURN(options.fork, snapshot_path(store, options.fork));
  return options;
}

Result<CompactOptions> read_compact(const Request& request, const std::string& policy) {
  CompactOptions options;
  options.policy = policy;
  LAMINA_ASSIGN_OR_RETURN(Fields fields, Fields::of_body(request));
  fields.text("policy", options.policy);
  fields.flag("dry_run", options.dry_run);
  fields.number("rate", options.rate_limit_bytes_s, 1, std::uint64_t{1} << 62);
  fields.flag("background", options.background);
  LAMINA_RETURN_IF_ERROR(fields.end());
  return options;
}

}  // namespace

Response Api::fork(const Request& request, const std::string& /*name*/) const {
  const auto start = std::chrono::steady_clock::now();
  const auto options = read_fork(request, parts_.store);
  if (!options) return error_response(options.error());
  const auto report = fork_snapshot(*options);
  parts_.metrics.count_fork(report.has_value());
  parts_.figures.changed();
  if (!report) return error_response(report.error());
  const Json document = report::fork_json(*report, ms_since(start));
  parts_.events.add(Level::kInfo, "fork",
                    {{"source", options->snapshot},
                     {"snapshot", report->fork},
                     {"pause_id", report->pause_id.to_string()}});
  return json_response(document);
}

Response Api::list(const Request& request, const std::string& /*name*/) const {
  bool tree = false;
  auto fields = Fields::of_query(request);
  if (!fields) return error_response(fields.error());
  fields->flag("tree", tree);
  if (const Status good = fields->end(); !good) return error_response(good.error());
  const auto listing = list_store(parts_.store);
  if (!listing) return error_response(listing.error());
  return json_response(report::listing_json(*listing, tree));
}

Response Api::inspect(const Request& request, const std::string& name) const {
  if (const Status good = read_nothing(request); !good) return error_response(good.error());
  const auto path = snapshot_path(parts_.store, name);
  if (!path) return error_response(path.error());
  const auto info = lamina::inspect(*path);
  if (!info) return error_response(info.error());
  return json_response(report::inspect_json(*info, false));
}

Response Api::remove(const Request& request, const std::string& name) const {
  RemoveOptions options;
  auto fields = Fields::of_query(request);
  if (!fields) return error_response(fields.error());
  fields->flag("dry_run", options.dry_run);
  if (const Status good = fields->end(); !good) return error_response(good.error());
  const auto path = snapshot_path(parts_.store, name);
  if (!path) return error_response(path.error());
  options.snapshots = {*path};
  auto report = remove_snapshots(options);
  if (!report) return error_response(report.error());
  const RemovedSnapshot& removed = report->snapshots.front();
  if (!options.dry_run) parts_.metrics.count_removal(!removed.error);
  if (removed.error) return error_response(*removed.error);
  Json document = {{"message_type", "rm"}, {"dry_run", options.dry_run}};
  document.update(report::removed_json(removed, options.dry_run));
  document["notes"] = report->notes;
  if (options.dry_run) return json_response(document);
  parts_.merger.removed(name);
  parts_.figures.changed();
  Json event = {{"name", name}};
  event.update(report::removed_json(removed, false));
  parts_.events.add(Level::kInfo, "delete", event);
  return json_response(document);
}

Response Api::compact(const Request& request, const std::string& name) const {
  const auto start = std::chrono::steady_clock::now();
  auto options = read_compact(request, parts_.policy());
  if (!options) return error_response(options.error());
  const auto path = snapshot_path(parts_.store, name);
  if (!path) return error_response(path.error());
  options->snapshot = *path;
  const auto report = lamina::compact(*options);
  if (!options->dry_run) parts_.metrics.count_merge(report);
  parts_.figures.changed();
  if (!report) return error_response(report.error());
  const Json compacted = report::compacted_json(*report, ms_since(start));
  Json document = {
      {"message_type", "compact"}, {"policy", report->policy}, {"dry_run", options->dry_run}};
  document.update(compacted);
  if (options->dry_run) return json_response(document);
  parts_.merger.compacted(name, *report);
  if (report->outcome != CompactOutcome::kNothing) {
    Json event = {{"name", name}};
    event.update(compacted);
    parts_.events.add(Level::kInfo, "merge", event);
  }
  return json_response(document);
}

Response Api::sessions(const Request& request, const std::string& /*name*/) const {
  if (const Status good = read_nothing(request); !good) return error_response(good.error());
  const auto listing = list_store(parts_.store);
  if (!listing) return error_response(listing.error());
  Json sessions = Json::array();
  for (const PinListing& pin : listing->pins) {
    if (pin.running || pin.error) sessions.push_back(report::pin_json(pin));
  }
  return json_response({{"message_type", "sessions"}, {"sessions", sessions}});
}

}  // namespace lamina::daemon
