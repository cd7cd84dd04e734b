#include "cli/lifecycle_requests.h"

#include "os/path_walk.h"
#include "os/process.h"
#include "schema/live_fork_request.h"
#include "schema/requests.h"

namespace lamina::cli {
namespace {

/// False for a name that the daemon's API refuses.
bool is_name(const std::string& name) {
  return !name.starts_with('.') && name.find('/') == std::string::npos;
}

/// A request about one snapshot. The report gets the snapshot's path in `options.store`.
template <typename Report, typename Options>
DaemonReply<Report> request_for_snapshot(const char* target, const Options& options, bool no_daemon,
                                         Progress& progress) {
  if (!is_name(options.name)) return std::nullopt;
  const std::optional<StoreDaemon> daemon = StoreDaemon::find(options.store, no_daemon);
  if (!daemon) return std::nullopt;
  return convert_reply(daemon->request<Report>(target, options, &progress), [&](Report report) {
    report.snapshot = path_in_store(options.store, report.snapshot);
    return report;
  });
}

}  // namespace

std::vector<std::string> page_server_command(const std::string& store) {
  const std::string program = os::own_program();
  if (program.empty()) return {};
  // An absolute path: the page server runs in another directory. If there is no store, the
  // operation that needs it reports the error.
  return {program, "serve", "--store", os::real_path(store).value_or(store)};
}

DaemonReply<PauseReport> request_pause(const PauseOptions& options, bool no_daemon,
                                       Progress& progress) {
  // The hook is the caller's: it keeps the caller's rights, directory, environment and terminal.
  if (!options.frozen_hook.empty()) return std::nullopt;
  return request_for_snapshot<PauseReport>("/v1/pause", options, no_daemon, progress);
}

DaemonReply<ResumeReport> request_resume(const ResumeOptions& options, bool no_daemon,
                                         Progress& progress) {
  return request_for_snapshot<ResumeReport>("/v1/resume", options, no_daemon, progress);
}

DaemonReply<LiveForkReport> request_live_fork(const LiveForkOptions& options, bool no_daemon,
                                              Progress& progress) {
  const std::string& store = options.pause.store;
  if (!options.pause.frozen_hook.empty() || !is_name(options.pause.name)) return std::nullopt;
  const std::optional<StoreDaemon> daemon = StoreDaemon::find(store, no_daemon);
  if (!daemon) return std::nullopt;
  return convert_reply(daemon->request<schema::LiveForkAnswer>(
                           "/v1/fork-live", schema::request_of(options), &progress),
                       [&](schema::LiveForkAnswer answer) {
                         LiveForkReport report = schema::report_of(std::move(answer));
                         report.pause.snapshot = path_in_store(store, report.pause.snapshot);
                         for (LiveClone& clone : report.clones) {
                           if (!clone.resumed) continue;
                           clone.resumed->snapshot = path_in_store(store, clone.resumed->snapshot);
                         }
                         return report;
                       });
}

DaemonReply<RecoverReport> request_recover(const RecoverOptions& options, bool no_daemon) {
  const auto daemon = StoreDaemon::find(options.store, no_daemon);
  if (!daemon) return std::nullopt;
  return convert_reply(daemon->request<schema::RecoverAnswer>("/v1/recover", options, nullptr),
                       [](schema::RecoverAnswer answer) { return std::move(answer.report); });
}

}  // namespace lamina::cli
