#include <memory>
#include <utility>

#include "base/error.h"
#include "base/stopwatch.h"
#include "daemon/api.h"
#include "daemon/requests.h"
#include "lamina/lifecycle.h"
#include "os/long_wait.h"
#include "schema/report_json.h"

namespace lamina::daemon {
namespace {

Json failure(const std::string& name, const Error& error) {
  Json fields = {{"name", name}, {"outcome", "failed"}};
  fields.update(error_fields(error));
  return fields;
}

Json success(const std::string& name, const Json& report) {
  Json fields = {{"name", name}, {"outcome", "done"}};
  fields.update(report);
  fields.erase("message_type");
  return fields;
}

}  // namespace

std::optional<Response> Api::complete(PauseOptions& options) const {
  if (auto refused = refuse_other_store(options.store)) return refused;
  if (!options.frozen_hook.empty() && !parts_.are_hooks_allowed()) {
    return error_response(
        {ErrorKind::kUsage, "field 'frozen_hook' is refused: the daemon runs with --no-hooks"});
  }
  if (const auto path = snapshot_path(parts_.store, options.name); !path) {
    return error_response(path.error());
  }
  options.store = parts_.store;
  options.page_server_command = parts_.page_server_command;
  if (options.freeze_memory_bytes == kFreezeMemoryShare) {
    options.freeze_memory_bytes = parts_.freeze_memory;
  }
  if (options.freeze_directory.empty()) options.freeze_directory = parts_.freeze_directory;
  return std::nullopt;
}

Response Api::pause(const Request& request, const std::string& /*name*/) const {
  auto options = read_pause(request);
  if (!options) return error_response(options.error());
  if (auto refused = complete(*options)) return *std::move(refused);
  const Stopwatch stopwatch;
  {
    const os::LongWait waiting;
    parts_.merger.wait_before_pause(options->name);
  }
  auto report = lamina::pause(*options);
  parts_.metrics.count_pause(report, stopwatch.seconds());
  parts_.status.changed();
  if (!report) {
    parts_.events.add(Level::kWarning, "pause", failure(options->name, report.error()));
    return error_response(report.error());
  }
  // The number of layers is the generation of the header plus one.
  parts_.merger.paused(options->name, report->generation + 1);
  report->snapshot = name_of(report->snapshot);
  parts_.pusher.added(report->snapshot, report->pause_id);
  const Json document = schema::to_json(*report);
  parts_.events.add(Level::kInfo, "pause", success(options->name, document));
  return json_response(document);
}

Response Api::resume(const Request& request, const std::string& /*name*/) const {
  auto requested = read_resume(request);
  if (!requested) return error_response(requested.error());
  ResumeOptions* const options = &requested->options;
  if (auto refused = refuse_other_store(options->store)) return *std::move(refused);
  if (const auto path = snapshot_path(parts_.store, options->name); !path) {
    return error_response(path.error());
  }
  options->store = parts_.store;
  options->page_server_command = parts_.page_server_command;
  const Stopwatch stopwatch;
  std::shared_ptr<const void> hold;  // until the VM is resumed
  if (requested->pull || requested->lazy) {
    auto pulled = pull_if_missing(*requested);
    if (!pulled) return error_response(pulled.error());
    hold = std::move(*pulled);
  }
  auto report = lamina::resume(*options);
  parts_.metrics.count_resume(options->mode, report, stopwatch.seconds());
  parts_.status.changed();
  if (!report) {
    parts_.events.add(Level::kWarning, "resume", failure(options->name, report.error()));
    return error_response(report.error());
  }
  if (report->mode == ResumeMode::kPageFaults) parts_.status.page_server_serves();
  report->snapshot = name_of(report->snapshot);
  const Json document = schema::to_json(*report);
  parts_.events.add(Level::kInfo, "resume", success(options->name, document));
  hold.reset();
  bound_cache_after_resume(options->name);
  return json_response(document);
}

Response Api::recover(const Request& request, const std::string& /*name*/) const {
  auto options = read_recover(request);
  if (!options) return error_response(options.error());
  if (auto refused = refuse_other_store(options->store)) return *std::move(refused);
  const auto report = parts_.recoverer.recover(*options);
  parts_.status.changed();
  if (!report) return error_response(report.error());
  return json_response(schema::to_json(schema::RecoverAnswer{*report, options->dry_run}));
}

}  // namespace lamina::daemon
