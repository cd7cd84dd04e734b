#include <fcntl.h>

#include <chrono>

#include "base/error.h"
#include "daemon/api.h"
#include "daemon/requests.h"
#include "lamina/compact.h"
#include "lamina/fork.h"
#include "lamina/inspect.h"
#include "lamina/listing.h"
#include "lamina/remove.h"
#include "os/directory.h"
#include "report/snapshot_json.h"
#include "report/store_json.h"

namespace lamina::daemon {
namespace {

double ms_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
      .count();
}

}  // namespace

Response Api::fork(const Request& request, const std::string& /*name*/) const {
  const auto start = std::chrono::steady_clock::now();
  auto meant = read_fork(request, parts_.store);
  if (!meant) return error_response(meant.error());
  if (auto refused = misdirected(meant->store)) return *std::move(refused);
  const auto report = fork_snapshot(meant->options);
  parts_.metrics.count_fork(report.has_value());
  parts_.figures.changed();
  if (!report) {
    constexpr int kConflict = 409;
    Response response = error_response(report.error());
    // A fork that fails leaves nothing: the name was another's.
    if (report.error().kind == ErrorKind::kFailed &&
        os::name_exists(AT_FDCWD, meant->options.fork)) {
      response.status = kConflict;
    }
    return response;
  }
  const Json document = report::fork_json(*report, ms_since(start));
  parts_.events.add(Level::kInfo, "fork",
                    {{"source", meant->options.snapshot},
                     {"snapshot", report->fork},
                     {"pause_id", report->pause_id.to_string()}});
  return json_response(document);
}

Response Api::list(const Request& request, const std::string& /*name*/) const {
  const auto tree = read_list(request);
  if (!tree) return error_response(tree.error());
  const auto listing = list_store(parts_.store);
  if (!listing) return error_response(listing.error());
  return json_response(report::listing_json(*listing, *tree));
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
  const auto options = read_remove(request, name, parts_.store);
  if (!options) return error_response(options.error());
  auto report = remove_snapshots(*options);
  if (!report) return error_response(report.error());
  const RemovedSnapshot& removed = report->snapshots.front();
  if (!options->dry_run) note_removal(removed);
  if (removed.error) return error_response(*removed.error);
  Json document = {{"message_type", "rm"}, {"dry_run", options->dry_run}};
  document.update(report::removed_json(removed, options->dry_run));
  document["notes"] = report->notes;
  return json_response(document);
}

Response Api::remove_several(const Request& request, const std::string& /*name*/) const {
  auto meant = read_remove_several(request, parts_.store);
  if (!meant) return error_response(meant.error());
  if (auto refused = misdirected(meant->store)) return *std::move(refused);
  const bool dry_run = meant->options.dry_run;
  const auto report = remove_snapshots(meant->options);
  if (!report) return error_response(report.error());
  if (!dry_run) {
    for (const RemovedSnapshot& removed : report->snapshots) note_removal(removed);
  }
  return json_response(report::removal_json(*report, dry_run));
}

/// What was done, or could not be, about one snapshot.
void Api::note_removal(const RemovedSnapshot& removed) const {
  parts_.metrics.count_removal(!removed.error);
  if (removed.error) return;
  const std::string name = removed.snapshot.substr(removed.snapshot.rfind('/') + 1);
  parts_.merger.removed(name);
  parts_.figures.changed();
  Json event = {{"name", name}};
  event.update(report::removed_json(removed, false));
  parts_.events.add(Level::kInfo, "delete", event);
}

Response Api::compact(const Request& request, const std::string& name) const {
  const auto start = std::chrono::steady_clock::now();
  auto meant = read_compact(request, parts_.policy());
  if (!meant) return error_response(meant.error());
  if (auto refused = misdirected(meant->store)) return *std::move(refused);
  CompactOptions& options = meant->options;
  const auto path = snapshot_path(parts_.store, name);
  if (!path) return error_response(path.error());
  options.snapshot = *path;
  const auto report = lamina::compact(options);
  if (!options.dry_run) parts_.metrics.count_merge(report);
  parts_.figures.changed();
  if (!report) return error_response(report.error());
  const double elapsed_ms = ms_since(start);
  const Json document = report::compaction_json(*report, options.dry_run, elapsed_ms);
  if (options.dry_run) return json_response(document);
  parts_.merger.compacted(name, *report);
  if (report->outcome != CompactOutcome::kNothing) {
    Json event = {{"name", name}};
    event.update(report::compacted_json(*report, elapsed_ms));
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
