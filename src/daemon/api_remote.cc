#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>
#include <system_error>
#include <utility>

#include "base/error.h"
#include "base/stopwatch.h"
#include "daemon/api.h"
#include "daemon/push_answers.h"
#include "daemon/requests.h"
#include "lamina/remote.h"
#include "os/long_wait.h"
#include "schema/remote_reports.h"
#include "schema/report_writer.h"

namespace lamina::daemon {
namespace {

using schema::ReportWriter;

std::optional<std::uint64_t> rule_of(std::uint64_t number) {
  if (number == 0) return std::nullopt;
  return number;
}

Result<LazyPullReport> pull_whole(const PullOptions& options) {
  LazyPullReport report;
  LAMINA_ASSIGN_OR_RETURN(report.pull, pull_snapshot(options));
  return report;
}

/// Somebody else would have to evict the snapshot right after each pull.
constexpr int kHoldAttempts = 3;

double seconds_of(PushQueue::Clock::duration duration) {
  return std::max(0.0, std::chrono::duration<double>(duration).count());
}

}  // namespace

Response Api::push_queue(const Request& request, const std::string& /*name*/) const {
  if (const Status good = check_no_fields(request); !good) return error_response(good.error());
  const PushSettings& settings = parts_.pusher.settings();
  PushQueueAnswer answer{settings.url, settings.names, {}};
  const auto now = PushQueue::Clock::now();
  for (PushQueue::Entry& entry : parts_.pusher.entries()) {
    answer.queue.push_back({.name = std::move(entry.name),
                            .pause_id = entry.pause_id,
                            .state = entry.state,
                            .age_s = seconds_of(now - entry.since),
                            .failed_attempts = entry.attempts,
                            .next_attempt_s = seconds_of(entry.next_attempt - now),
                            .error = std::move(entry.error)});
  }
  return json_response(ReportWriter::write(answer));
}

Response Api::push(const Request& request, const std::string& /*name*/) const {
  auto requested = read_push(request, parts_.store);
  if (!requested) return error_response(requested.error());
  if (auto refused = refuse_other_store(requested->store)) return *std::move(refused);
  const Stopwatch stopwatch;
  const os::LongWait waiting;
  auto report = parts_.pusher.push(std::move(requested->options));
  if (!report) return error_response(report.error());
  report->snapshot = name_of(report->snapshot);
  return json_response(
      ReportWriter::write(schema::PushAnswer{std::move(*report), stopwatch.elapsed_ms()}));
}

Result<LazyPullReport> Api::pull_into_store(LazyPullOptions lazy, bool is_lazy) const {
  const PushSettings& settings = parts_.pusher.settings();
  PullOptions& options = lazy.pull;
  if (options.url.empty()) options.url = settings.url;
  if (options.url.empty()) {
    return with_remedy(
        fail(ErrorKind::kUsage, "the request has no bucket, and the daemon has none"),
        "give `url`, or start the daemon with --push");
  }
  RemoteRequests requests;
  options.store = parts_.store;
  options.key_file = settings.key_file;
  options.key_command = settings.key_command;
  options.requests = &requests;
  options.cache_bytes = settings.cache_bytes;
  options.progress = parts_.pusher.interruption();
  // The program that serves pages.
  lazy.fetch_command = {parts_.page_server_command.front(), "remote", "fetch"};
  const os::LongWait waiting;
  Result<LazyPullReport> report = is_lazy ? begin_pull(lazy) : pull_whole(options);
  parts_.metrics.count_remote_requests(requests);
  if (report && settings.cache_bytes) {
    parts_.metrics.count_cache(report->pull.cache_bytes, report->pull.evicted.size(),
                               report->pull.evicted_bytes);
  }
  if (report && report->is_already_there) return report;
  parts_.metrics.count_pull(report ? Result<PullReport>(report->pull)
                                   : std::unexpected(report.error()));
  parts_.status.changed();
  Json event = {{"name", options.as.empty() ? options.name : options.as}};
  if (!report) {
    event["outcome"] = "failed";
    event.update(error_fields(report.error()));
    parts_.events.add(Level::kWarning, "pull", event);
    return report;
  }
  PullReport& pulled = report->pull;
  pulled.snapshot = name_of(pulled.snapshot);
  event["outcome"] = report->is_arriving ? "begun" : "done";
  event["pulled"] = pulled.name;
  Json fields = ReportWriter::write(pulled);
  for (const char* field : {"message_type", "name", "snapshot"}) fields.erase(field);
  event.update(fields);
  parts_.events.add(Level::kInfo, "pull", event);
  return report;
}

Response Api::pull(const Request& request, const std::string& /*name*/) const {
  auto requested = read_pull(request);
  if (!requested) return error_response(requested.error());
  if (auto refused = refuse_other_store(requested->store)) return *std::move(refused);
  const PullOptions& options = requested->options;
  if (const auto path = snapshot_path(parts_.store, options.as.empty() ? options.name : options.as);
      !path) {
    return error_response(path.error());
  }
  const Stopwatch stopwatch;
  auto report = pull_into_store({.pull = std::move(requested->options)}, false);
  if (!report) return error_response(report.error());
  return json_response(
      ReportWriter::write(schema::PullAnswer{std::move(report->pull), stopwatch.elapsed_ms()}));
}

Result<std::shared_ptr<const void>> Api::pull_if_missing(
    const schema::ResumeRequest& request) const {
  const std::string& name = request.options.name;
  LAMINA_ASSIGN_OR_RETURN(const std::string path, snapshot_path(parts_.store, name));
  // A file is made of the whole memory.
  const bool is_lazy = request.lazy && request.options.mode != ResumeMode::kFile;
  for (int attempt = 0; attempt < kHoldAttempts; ++attempt) {
    LAMINA_ASSIGN_OR_RETURN(auto hold, hold_for_resume(path));
    if (hold) return hold;
    // Not a snapshot: the resume says so.
    std::error_code error;
    if (std::filesystem::exists(path, error) || error) return nullptr;
    LazyPullOptions lazy;
    lazy.pull.name = name;
    lazy.wait_limit = std::chrono::seconds(request.wait_limit);
    auto report = pull_into_store(std::move(lazy), is_lazy);
    if (report && report->hold) return std::move(report->hold);
    // Another request may have pulled it meanwhile, or have evicted what was pulled.
    if (!report && report.error().kind != ErrorKind::kExists) {
      return std::unexpected(std::move(report.error()));
    }
  }
  return nullptr;
}

void Api::bound_cache_after_resume(const std::string& name) const {
  const PushSettings& settings = parts_.pusher.settings();
  if (!settings.cache_bytes || settings.url.empty()) return;
  RemoteRequests requests;
  CacheOptions options;
  options.url = settings.url;
  options.store = parts_.store;
  options.limit_bytes = *settings.cache_bytes;
  options.keep = name;
  options.requests = &requests;
  options.progress = parts_.pusher.interruption();
  const os::LongWait waiting;
  const auto report = bound_cache(options);
  parts_.metrics.count_remote_requests(requests);
  if (!report) {
    parts_.events.add(Level::kWarning, "evict", error_fields(report.error()));
    return;
  }
  parts_.metrics.count_cache(report->cache_bytes, report->evicted.size(), report->evicted_bytes);
  if (report->evicted.empty()) return;
  parts_.status.changed();
  parts_.events.add(Level::kInfo, "evict",
                    {{"cache_bytes", report->cache_bytes},
                     {"evicted", report->evicted},
                     {"evicted_bytes", report->evicted_bytes},
                     {"notes", report->notes}});
}

Response Api::prune(const Request& request, const std::string& /*name*/) const {
  auto requested = read_prune(request);
  if (!requested) return error_response(requested.error());
  if (auto refused = refuse_other_store(requested->store)) return *std::move(refused);
  const schema::PruneRequest& rules = requested->options;
  PruneOptions options;
  options.url = rules.url.empty() ? parts_.pusher.settings().url : rules.url;
  options.keep_last = rule_of(rules.keep_last);
  options.keep_daily = rule_of(rules.keep_daily);
  if (rules.keep_within > 0) options.keep_within = std::chrono::seconds(rules.keep_within);
  options.pattern = rules.names;
  options.dry_run = rules.dry_run;
  options.progress = parts_.pusher.interruption();
  if (options.url.empty()) {
    return error_response({.kind = ErrorKind::kUsage,
                           .message = "the request has no bucket, and the daemon has none",
                           .remedy = "give `url`, or start the daemon with --push"});
  }
  const os::LongWait waiting;
  auto report = prune_remote(options);
  if (!report) return error_response(report.error());
  const Json document =
      ReportWriter::write(schema::PruneAnswer{std::move(*report), options.dry_run});
  if (!options.dry_run) {
    Json event = document;
    event.erase("message_type");
    parts_.events.add(Level::kInfo, "prune", event);
  }
  return json_response(document);
}

}  // namespace lamina::daemon
