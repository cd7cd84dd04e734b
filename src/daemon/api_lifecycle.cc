#include <chrono>

#include "base/error.h"
#include "daemon/api.h"
#include "lamina/lifecycle.h"
#include "report/lifecycle_json.h"

namespace lamina::daemon {
namespace {

constexpr std::uint64_t kLongestTimeout = 86'400;

class Stopwatch {
 public:
  [[nodiscard]] double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

void read_seconds(Fields& fields, const std::string& name, std::chrono::milliseconds& place) {
  std::uint64_t seconds = 0;
  fields.number(name, seconds, 1, kLongestTimeout);
  if (seconds > 0) place = std::chrono::seconds(seconds);
}

void read_vmm(Fields& fields, VmmAddress& vmm) {
  fields.text("api_socket", vmm.api_socket, Need::kMust);
  fields.text("jail", vmm.jail);
  read_seconds(fields, "timeout", vmm.timeouts.request);
}

Result<PauseOptions> read_pause(const Request& request) {
  PauseOptions options;
  LAMINA_ASSIGN_OR_RETURN(Fields fields, Fields::of_body(request));
  fields.text("store", options.store);
  read_vmm(fields, options.vmm);
  fields.text("name", options.name, Need::kMust);
  fields.choice<AfterPause>(
      "after", options.after,
      {{"stop", AfterPause::kStop}, {"resume", AfterPause::kResume}, {"stay", AfterPause::kStay}});
  fields.text("frozen_hook", options.frozen_hook);
  read_seconds(fields, "hook_timeout", options.hook_timeout);
  fields.texts("attach", options.attachments);
  fields.flag("full", options.full);
  fields.flag("replace", options.replace);
  read_seconds(fields, "create_timeout", options.vmm.timeouts.create);
  LAMINA_RETURN_IF_ERROR(fields.end());
  return options;
}

void read_overrides(Fields& fields, std::vector<NetworkOverride>& overrides) {
  std::vector<std::string> texts;
  fields.texts("network_override", texts);
  for (const std::string& text : texts) {
    const std::size_t sign = text.find('=');
    if (sign == std::string::npos || sign == 0 || sign + 1 == text.size()) {
      return fields.wrong("network_override", "has '" + text + "', which is no INTERFACE=DEVICE");
    }
    overrides.push_back({text.substr(0, sign), text.substr(sign + 1)});
  }
}

Result<ResumeOptions> read_resume(const Request& request) {
  ResumeOptions options;
  LAMINA_ASSIGN_OR_RETURN(Fields fields, Fields::of_body(request));
  fields.text("store", options.store);
  read_vmm(fields, options.vmm);
  fields.text("name", options.name, Need::kMust);
  fields.choice<ResumeMode>("mode", options.mode,
                            {{"auto", ResumeMode::kAuto},
                             {"uffd", ResumeMode::kPageFaults},
                             {"file", ResumeMode::kFile}});
  fields.choice<Populate>(
      "populate", options.populate,
      {{"none", Populate::kNone}, {"working-set", Populate::kWorkingSet}, {"all", Populate::kAll}});
  fields.flag("record", options.record);
  read_overrides(fields, options.network_overrides);
  fields.text("vsock_override", options.vsock_override);
  fields.flag("stay_paused", options.stay_paused);
  LAMINA_RETURN_IF_ERROR(fields.end());
  return options;
}

/// The daemon has a store and a page server of its own.
Result<RecoverOptions> read_recover(const Request& request) {
  RecoverOptions options;
  LAMINA_ASSIGN_OR_RETURN(Fields fields, Fields::of_body(request));
  std::vector<std::string> texts;
  fields.text("store", options.store);
  fields.flag("dry_run", options.dry_run);
  fields.texts("give_up", texts);
  for (const std::string& text : texts) {
    if (const auto id = Uuid::parse(text)) {
      options.give_up.push_back(*id);
    } else {
      fields.wrong("give_up", "has '" + text + "', which is no pause id");
    }
  }
  LAMINA_RETURN_IF_ERROR(fields.end());
  return options;
}

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

Response Api::pause(const Request& request, const std::string& /*name*/) const {
  auto options = read_pause(request);
  if (!options) return error_response(options.error());
  if (auto refused = misdirected(options->store)) return *std::move(refused);
  if (!options->frozen_hook.empty() && !parts_.are_hooks_allowed()) {
    return error_response(
        {ErrorKind::kUsage, "field 'frozen_hook' is refused: the daemon runs with --no-hooks"});
  }
  if (const auto path = snapshot_path(parts_.store, options->name); !path) {
    return error_response(path.error());
  }
  options->store = parts_.store;
  const Stopwatch stopwatch;
  parts_.merger.wait_before_pause(options->name);
  const auto report = lamina::pause(*options);
  parts_.metrics.count_pause(report, stopwatch.seconds());
  parts_.figures.changed();
  if (!report) {
    parts_.events.add(Level::kWarning, "pause", failure(options->name, report.error()));
    return error_response(report.error());
  }
  // A header's generation is the number of its layers, less one.
  parts_.merger.paused(options->name, report->generation + 1);
  const Json document = report::pause_json(*report);
  parts_.events.add(Level::kInfo, "pause", success(options->name, document));
  return json_response(document);
}

Response Api::resume(const Request& request, const std::string& /*name*/) const {
  auto options = read_resume(request);
  if (!options) return error_response(options.error());
  if (auto refused = misdirected(options->store)) return *std::move(refused);
  if (const auto path = snapshot_path(parts_.store, options->name); !path) {
    return error_response(path.error());
  }
  options->store = parts_.store;
  options->page_server_command = parts_.page_server_command;
  const Stopwatch stopwatch;
  const auto report = lamina::resume(*options);
  parts_.metrics.count_resume(options->mode, report, stopwatch.seconds());
  parts_.figures.changed();
  if (!report) {
    parts_.events.add(Level::kWarning, "resume", failure(options->name, report.error()));
    return error_response(report.error());
  }
  const Json document = report::resume_json(*report);
  parts_.events.add(Level::kInfo, "resume", success(options->name, document));
  return json_response(document);
}

Response Api::recover(const Request& request, const std::string& /*name*/) const {
  auto options = read_recover(request);
  if (!options) return error_response(options.error());
  if (auto refused = misdirected(options->store)) return *std::move(refused);
  const auto report = parts_.recoverer.recover(*options);
  parts_.figures.changed();
  if (!report) return error_response(report.error());
  return json_response(report::recover_json(*report, options->dry_run));
}

}  // namespace lamina::daemon
