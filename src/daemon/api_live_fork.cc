// Forks of VMs that run on.
#include <utility>

#include "base/error.h"
#include "base/stopwatch.h"
#include "daemon/api.h"
#include "daemon/requests.h"
#include "lamina/live_fork.h"
#include "os/long_wait.h"
#include "schema/report_json.h"

namespace lamina::daemon {
namespace {

/// The event of a fork. It has less than the report: events are kept, and there may be many clones.
Json live_fork_event(const std::string& name, const LiveForkReport& report) {
  Json clones = Json::array();
  for (const LiveClone& clone : report.clones) {
    Json one = {{"api_socket", clone.api_socket}, {"ready_ms", clone.ready_ms}};
    if (clone.resumed) {
      one["pid"] = clone.resumed->pid;
      one["resume_id"] = clone.resumed->resume_id.to_string();
    } else {
      one.update(error_fields(clone.resumed.error()));
    }
    clones.push_back(std::move(one));
  }
  return {{"name", name},
          {"outcome", "done"},
          {"snapshot", report.pause.snapshot},
          {"pause_id", report.pause.pause_id.to_string()},
          {"frozen_ms", report.pause.phases.frozen_ms},
          {"readable_ms", report.readable_ms},
          {"clones_ms", report.clones_ms},
          {"durable_ms", report.durable_ms},
          {"clones", std::move(clones)}};
}

}  // namespace

Response Api::fork_live(const Request& request, const std::string& /*name*/) const {
  auto options = read_live_fork(request);
  if (!options) return error_response(options.error());
  if (auto refused = complete(options->pause)) return *std::move(refused);
  options->resume.page_server_command = parts_.page_server_command;
  const std::string name = options->pause.name;
  const Stopwatch stopwatch;
  {
    const os::LongWait waiting;
    parts_.merger.wait_before_pause(name);
  }
  auto report = lamina::live_fork(*options);
  parts_.metrics.count_live_fork(options->resume.mode, report, stopwatch.seconds());
  parts_.status.changed();
  if (!report) {
    Json event = {{"name", name}, {"outcome", "failed"}};
    event.update(error_fields(report.error()));
    parts_.events.add(Level::kWarning, "fork_live", event);
    return error_response(report.error());
  }
  // The number of layers is the generation of the header plus one.
  parts_.merger.paused(name, report->pause.generation + 1);
  report->pause.snapshot = name_of(report->pause.snapshot);
  parts_.pusher.added(report->pause.snapshot, report->pause.pause_id);
  Level level = Level::kInfo;
  for (LiveClone& clone : report->clones) {
    if (!clone.resumed) {
      level = Level::kWarning;
      continue;
    }
    clone.resumed->snapshot = name_of(clone.resumed->snapshot);
    if (clone.resumed->mode == ResumeMode::kPageFaults) parts_.status.page_server_serves();
  }
  parts_.events.add(level, "fork_live", live_fork_event(name, *report));
  return json_response(schema::to_json(schema::answer_of(std::move(*report))));
}

}  // namespace lamina::daemon
