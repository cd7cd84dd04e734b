#include "cli/lifecycle_requests.h"

#include <chrono>
#include <optional>

#include "report/lifecycle_json.h"

namespace lamina::cli {
namespace {

using report::Json;

/// Adds seconds where they are not what everybody takes who is told nothing.
void add_seconds(Json& fields, const char* name, std::chrono::milliseconds value,
                 std::chrono::milliseconds usual) {
  if (value == usual) return;
  fields[name] = std::chrono::duration_cast<std::chrono::seconds>(value).count();
}

void add_flag(Json& fields, const char* name, bool value) {
  if (value) fields[name] = true;
}

/// The fields that a pause and a resume have; nothing when no request can have such a name.
std::optional<Json> vmm_fields(StoreDaemon& daemon, const VmmAddress& vmm,
                               const std::string& name) {
  if (name.starts_with('.') || name.find('/') != std::string::npos) return std::nullopt;
  Json fields = {{"name", name}, {"api_socket", daemon.absolute(vmm.api_socket)}};
  if (!vmm.jail.empty()) fields["jail"] = daemon.absolute(vmm.jail);
  add_seconds(fields, "timeout", vmm.timeouts.request, VmmTimeouts().request);
  return fields;
}

/// The word of `words` that means `value`, unless it is the default.
template <typename T>
void add_word(Json& fields, const char* name, T value, T usual,
              const std::vector<std::pair<std::string, T>>& words) {
  for (const auto& [word, meaning] : words) {
    if (meaning == value && value != usual) fields[name] = word;
  }
}

}  // namespace

const Words<AfterPause>& after_words() {
  static const Words<AfterPause> words = {
      {"stop", AfterPause::kStop}, {"resume", AfterPause::kResume}, {"stay", AfterPause::kStay}};
  return words;
}

const Words<ResumeMode>& mode_words() {
  static const Words<ResumeMode> words = {
      {"auto", ResumeMode::kAuto}, {"uffd", ResumeMode::kPageFaults}, {"file", ResumeMode::kFile}};
  return words;
}

const Words<Populate>& populate_words() {
  static const Words<Populate> words = {
      {"none", Populate::kNone}, {"working-set", Populate::kWorkingSet}, {"all", Populate::kAll}};
  return words;
}

const Words<HugePages>& huge_pages_words() {
  static const Words<HugePages> words = {{"as-before", HugePages::kAsBefore},
                                         {"none", HugePages::kNone},
                                         {"transparent", HugePages::kTransparent},
                                         {"2M", HugePages::k2MiB}};
  return words;
}

Asked<PauseReport> ask_to_pause(const PauseOptions& options, bool no_daemon, Progress& progress) {
  // A command of the caller's: it keeps his rights, directory, environment and terminal.
  if (!options.frozen_hook.empty()) return std::nullopt;
  auto daemon = StoreDaemon::of(options.store, no_daemon);
  if (!daemon) return std::nullopt;
  auto fields = vmm_fields(*daemon, options.vmm, options.name);
  if (!fields) return std::nullopt;
  const PauseOptions usual;
  add_word(*fields, "after", options.after, usual.after, after_words());
  add_flag(*fields, "full", options.full);
  add_flag(*fields, "replace", options.replace);
  add_seconds(*fields, "create_timeout", options.vmm.timeouts.create, usual.vmm.timeouts.create);
  for (const std::string& file : options.attachments) {
    (*fields)["attach"].push_back(daemon->absolute(file));
  }
  return daemon->ask("/v1/pause", std::move(*fields), &progress, report::pause_from_json);
}

Asked<ResumeReport> ask_to_resume(const ResumeOptions& options, bool no_daemon,
                                  Progress& progress) {
  auto daemon = StoreDaemon::of(options.store, no_daemon);
  if (!daemon) return std::nullopt;
  auto fields = vmm_fields(*daemon, options.vmm, options.name);
  if (!fields) return std::nullopt;
  const ResumeOptions usual;
  add_word(*fields, "mode", options.mode, usual.mode, mode_words());
  add_word(*fields, "populate", options.populate, usual.populate, populate_words());
  add_flag(*fields, "record", options.record);
  add_flag(*fields, "stay_paused", options.stay_paused);
  for (const NetworkOverride& network : options.network_overrides) {
    (*fields)["network_override"].push_back(network.interface_id + "=" + network.host_device);
  }
  add_flag(*fields, "clock_realtime", options.clock_realtime);
  add_word(*fields, "huge_pages", options.huge_pages, usual.huge_pages, huge_pages_words());
  if (!options.vsock_override.empty()) (*fields)["vsock_override"] = options.vsock_override;
  return daemon->ask("/v1/resume", std::move(*fields), &progress, report::resume_from_json);
}

Asked<RecoverReport> ask_to_recover(const RecoverOptions& options, bool no_daemon) {
  const auto daemon = StoreDaemon::of(options.store, no_daemon);
  if (!daemon) return std::nullopt;
  Json fields = Json::object();
  add_flag(fields, "dry_run", options.dry_run);
  add_flag(fields, "adopt_store", options.adopt_store);
  for (const Uuid& id : options.give_up) fields["give_up"].push_back(id.to_string());
  return daemon->ask("/v1/recover", std::move(fields), nullptr, report::recover_from_json);
}

}  // namespace lamina::cli
