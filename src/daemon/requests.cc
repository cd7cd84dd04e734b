#include "daemon/requests.h"

#include <chrono>
#include <limits>

#include "base/error.h"
#include "base/shown_text.h"
#include "daemon/fields.h"

namespace lamina::daemon {
namespace {

constexpr std::uint64_t kLongestTimeout = 86'400;

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

void read_overrides(Fields& fields, std::vector<NetworkOverride>& overrides) {
  std::vector<std::string> texts;
  fields.texts("network_override", texts);
  for (const std::string& text : texts) {
    const std::size_t sign = text.find('=');
    if (sign == std::string::npos || sign == 0 || sign + 1 == text.size()) {
      return fields.wrong("network_override",
                          "has '" + shown_value(text) + "', which is no INTERFACE=DEVICE");
    }
    overrides.push_back({text.substr(0, sign), text.substr(sign + 1)});
  }
}

}  // namespace

Result<std::string> snapshot_path(const std::string& store, const std::string& name) {
  if (name.empty() || name.find('/') != std::string::npos || name.find('\0') != std::string::npos ||
      name.starts_with('.')) {
    return fail(ErrorKind::kUsage, "'{}' is no name of a snapshot", shown_value(name));
  }
  return store + "/" + name;
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
  fields.flag("clock_realtime", options.clock_realtime);
  fields.choice<HugePages>("huge_pages", options.huge_pages,
                           {{"as-before", HugePages::kAsBefore},
                            {"none", HugePages::kNone},
                            {"transparent", HugePages::kTransparent},
                            {"2M", HugePages::k2MiB}});
  fields.flag("stay_paused", options.stay_paused);
  LAMINA_RETURN_IF_ERROR(fields.end());
  return options;
}

Result<RecoverOptions> read_recover(const Request& request) {
  RecoverOptions options;
  LAMINA_ASSIGN_OR_RETURN(Fields fields, Fields::of_body(request));
  std::vector<std::string> texts;
  fields.text("store", options.store);
  fields.flag("dry_run", options.dry_run);
  fields.flag("adopt_store", options.adopt_store);
  fields.texts("give_up", texts);
  for (const std::string& text : texts) {
    if (const auto id = Uuid::parse(text)) {
      options.give_up.push_back(*id);
    } else {
      fields.wrong("give_up", "has '" + shown_value(text) + "', which is no pause id");
    }
  }
  LAMINA_RETURN_IF_ERROR(fields.end());
  return options;
}

Result<Meant<ForkOptions>> read_fork(const Request& request, const std::string& store) {
  Meant<ForkOptions> meant;
  ForkOptions& options = meant.options;
  LAMINA_ASSIGN_OR_RETURN(Fields fields, Fields::of_body(request));
  fields.text("store", meant.store);
  fields.text("snapshot", options.snapshot, Need::kMust);
  fields.text("new", options.fork, Need::kMust);
  LAMINA_RETURN_IF_ERROR(fields.end());
  LAMINA_ASSIGN_OR_RETURN(options.snapshot, snapshot_path(store, options.snapshot));
  LAMINA_ASSIGN_OR_RETURN(options.fork, snapshot_path(store, options.fork));
  return meant;
}

Result<Meant<RemoveOptions>> read_remove_several(const Request& request, const std::string& store) {
  Meant<RemoveOptions> meant;
  LAMINA_ASSIGN_OR_RETURN(Fields fields, Fields::of_body(request));
  fields.text("store", meant.store);
  fields.texts("snapshots", meant.options.snapshots, Need::kMust);
  if (meant.options.snapshots.empty()) fields.wrong("snapshots", "is empty");
  fields.flag("dry_run", meant.options.dry_run);
  LAMINA_RETURN_IF_ERROR(fields.end());
  for (std::string& snapshot : meant.options.snapshots) {
    LAMINA_ASSIGN_OR_RETURN(snapshot, snapshot_path(store, snapshot));
  }
  return meant;
}

Result<Meant<CompactOptions>> read_compact(const Request& request, const std::string& policy) {
  Meant<CompactOptions> meant;
  CompactOptions& options = meant.options;
  options.policy = policy;
  LAMINA_ASSIGN_OR_RETURN(Fields fields, Fields::of_body(request));
  fields.text("store", meant.store);
  fields.text("policy", options.policy);
  fields.flag("dry_run", options.dry_run);
  fields.number("rate", options.rate_limit_bytes_s, 1, std::uint64_t{1} << 62);
  fields.flag("background", options.background);
  LAMINA_RETURN_IF_ERROR(fields.end());
  return meant;
}

Result<RemoveOptions> read_remove(const Request& request, const std::string& name,
                                  const std::string& store) {
  RemoveOptions options;
  LAMINA_ASSIGN_OR_RETURN(Fields fields, Fields::of_query(request));
  fields.flag("dry_run", options.dry_run);
  LAMINA_RETURN_IF_ERROR(fields.end());
  LAMINA_ASSIGN_OR_RETURN(std::string path, snapshot_path(store, name));
  options.snapshots = {std::move(path)};
  return options;
}

Result<bool> read_list(const Request& request) {
  bool tree = false;
  LAMINA_ASSIGN_OR_RETURN(Fields fields, Fields::of_query(request));
  fields.flag("tree", tree);
  LAMINA_RETURN_IF_ERROR(fields.end());
  return tree;
}

Result<std::uint64_t> read_events(const Request& request) {
  std::uint64_t after = 0;
  LAMINA_ASSIGN_OR_RETURN(Fields fields, Fields::of_query(request));
  fields.number("after", after, 0, std::numeric_limits<std::uint64_t>::max());
  LAMINA_RETURN_IF_ERROR(fields.end());
  return after;
}

Status read_nothing(const Request& request) {
  LAMINA_ASSIGN_OR_RETURN(Fields fields, Fields::of_query(request));
  return fields.end();
}

}  // namespace lamina::daemon
