#include "cli/lifecycle_requests.h"

#include "schema/requests.h"

namespace lamina::cli {
namespace {

/// False for a name that no request can have.
bool is_name(const std::string& name) {
  return !name.starts_with('.') && name.find('/') == std::string::npos;
}

/// Asks about one snapshot, and gives the report its path in `options.store`.
template <typename Report, typename Options>
Asked<Report> ask(const char* target, const Options& options, bool no_daemon, Progress& progress) {
  if (!is_name(options.name)) return std::nullopt;
  const std::optional<StoreDaemon> daemon = StoreDaemon::of(options.store, no_daemon);
  if (!daemon) return std::nullopt;
  auto report = daemon->ask<Report>(target, options, &progress);
  if (report && *report) {
    (*report)->snapshot = path_in_store(options.store, (*report)->snapshot);
  }
  return report;
}

}  // namespace

Asked<PauseReport> ask_to_pause(const PauseOptions& options, bool no_daemon, Progress& progress) {
  // A command of the caller's: it keeps the caller's rights, directory, environment and terminal.
  if (!options.frozen_hook.empty()) return std::nullopt;
  return ask<PauseReport>("/v1/pause", options, no_daemon, progress);
}

Asked<ResumeReport> ask_to_resume(const ResumeOptions& options, bool no_daemon,
                                  Progress& progress) {
  return ask<ResumeReport>("/v1/resume", options, no_daemon, progress);
}

Asked<RecoverReport> ask_to_recover(const RecoverOptions& options, bool no_daemon) {
  const auto daemon = StoreDaemon::of(options.store, no_daemon);
  if (!daemon) return std::nullopt;
  auto answer = daemon->ask<schema::RecoverAnswer>("/v1/recover", options, nullptr);
  if (!answer) return std::nullopt;
  if (!*answer) return Result<RecoverReport>(std::unexpected(answer->error()));
  return Result<RecoverReport>(std::move((*answer)->report));
}

}  // namespace lamina::cli
