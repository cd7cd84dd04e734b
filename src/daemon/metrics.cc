#include "daemon/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <optional>

#include "schema/error_json.h"
#include "schema/report_json.h"

namespace lamina::daemon {
namespace {

constexpr double kMillisecondsPerSecond = 1e3;

std::string label(std::string_view name, std::string_view value) {
  return fmt::format("{{{}=\"{}\"}}", name, value);
}

/// "done", or the kind of the error.
template <typename Report>
std::string_view outcome_of(const Result<Report>& report) {
  return report ? "done" : word_of(report.error().kind);
}

constexpr std::array<std::pair<const char*, double PausePhases::*>, 10> kPhases = {{
    {"prepare", &PausePhases::prepare_ms},
    {"pause", &PausePhases::pause_ms},
    {"create", &PausePhases::create_ms},
    {"journal", &PausePhases::journal_ms},
    {"hook", &PausePhases::hook_ms},
    {"resume", &PausePhases::resume_ms},
    {"frozen", &PausePhases::frozen_ms},
    {"complete", &PausePhases::complete_ms},
    {"publish", &PausePhases::publish_ms},
    {"durable", &PausePhases::durable_ms},
}};

constexpr std::array<std::pair<const char*, std::uint64_t RecoverReport::*>, 6> kRecovered = {{
    {"completed_pauses", &RecoverReport::completed},
    {"discarded_pauses", &RecoverReport::discarded},
    {"released_pins", &RecoverReport::released_pins},
    {"removed_arrivals", &RecoverReport::removed_arrivals},
    {"removed_maps", &RecoverReport::removed_maps},
    {"resumed_vms", &RecoverReport::resumed_vms},
}};

}  // namespace

void MetricsText::describe(std::string_view name, std::string_view type, std::string_view help) {
  fmt::format_to(std::back_inserter(text_), "# HELP laminad_{0} {2}\n# TYPE laminad_{0} {1}\n",
                 name, type, help);
}

void MetricsText::sample(std::string_view name, std::string_view labels, double value) {
  fmt::format_to(std::back_inserter(text_), "laminad_{}{} {}\n", name, labels, value);
}

void MetricsText::one(std::string_view name, std::string_view type, std::string_view help,
                      double value) {
  describe(name, type, help);
  sample(name, "", value);
}

void Histogram::add(double seconds) {
  for (std::size_t i = 0; i < kBounds.size(); ++i) {
    if (seconds > kBounds[i]) continue;
    ++counts_[i];
    break;
  }
  ++count_;
  sum_ += seconds;
}

void Histogram::write(MetricsText& text, std::string_view name, const std::string& labels) const {
  const std::string bucket = fmt::format("{}_bucket", name);
  const std::string comma = labels.empty() ? "" : labels + ",";
  const std::string braced = labels.empty() ? "" : "{" + labels + "}";
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < kBounds.size(); ++i) {
    sum += counts_[i];
    text.sample(bucket, fmt::format("{{{}le=\"{}\"}}", comma, kBounds[i]),
                static_cast<double>(sum));
  }
  text.sample(bucket, fmt::format("{{{}le=\"+Inf\"}}", comma), static_cast<double>(count_));
  text.sample(fmt::format("{}_sum", name), braced, sum_);
  text.sample(fmt::format("{}_count", name), braced, static_cast<double>(count_));
}

// The counters exist from the start, so that a monitor sees the first event as an increase.
Metrics::Metrics() {
  for (const char* kind : {"diff", "full"}) {
    pauses_[fmt::format("{{kind=\"{}\",outcome=\"done\"}}", kind)] = 0;
  }
  for (const Word<PausePlace>& place : kWords<PausePlace>) {
    pause_places_[label("place", place.text)] = 0;
  }
  for (const char* mode : {"uffd", "file"}) {
    resumes_[fmt::format("{{mode=\"{}\",outcome=\"done\"}}", mode)] = 0;
    resume_seconds_[mode];
  }
  for (const char* outcome : {"nothing", "merged", "dropped", "failed"}) {
    merges_[label("outcome", outcome)] = 0;
  }
  for (const char* kind : {"read", "written", "cloned", "freed"}) {
    merge_bytes_[label("kind", kind)] = 0;
  }
  for (const char* outcome : {"done", "already_there", "conflict", "failed"}) {
    pushes_[label("outcome", outcome)] = 0;
  }
  pulls_[label("outcome", "done")] = 0;
  for (const char* outcome : {"done", "absent", "unavailable", "unknown"}) {
    remote_requests_[label("outcome", outcome)] = 0;
  }
  recovers_[label("outcome", "done")] = 0;
  for (const auto& [name, field] : kRecovered) recovered_[label("what", name)] = 0;
  for (const auto& [name, field] : kPhases) pause_phases_[name];
  requests_[label("code", "200")] = 0;
  live_forks_[label("outcome", "done")] = live_fork_clones_[label("outcome", "done")] = 0;
  forks_[label("outcome", "done")] = removals_[label("outcome", "done")] = 0;
}

void Metrics::count_pause(const Result<PauseReport>& report, double seconds) {
  const MutexLock lock(mutex_);
  const char* kind = "unknown";
  if (report) kind = report->is_diff ? "diff" : "full";
  ++pauses_[fmt::format("{{kind=\"{}\",outcome=\"{}\"}}", kind, outcome_of(report))];
  if (!report) return;
  ++pause_places_[label("place", word_of(report->place))];
  stored_bytes_ += report->stored_bytes;
  pause_seconds_.add(seconds);
  for (const auto& [name, field] : kPhases) {
    pause_phases_[name].add(report->phases.*field / kMillisecondsPerSecond);
  }
}

void Metrics::count_resume(ResumeMode requested, const Result<ResumeReport>& report,
                           double seconds) {
  const MutexLock lock(mutex_);
  std::string mode = "auto";
  if (report) {
    mode = word_of(report->mode);
  } else if (requested != ResumeMode::kAuto) {
    mode = word_of(requested);
  }
  ++resumes_[fmt::format("{{mode=\"{}\",outcome=\"{}\"}}", mode, outcome_of(report))];
  if (report) resume_seconds_[mode].add(seconds);
}

void Metrics::count_live_fork(ResumeMode requested, const Result<LiveForkReport>& report,
                              double seconds) {
  if (!report) {
    count_pause(std::unexpected(report.error()), seconds);
    const MutexLock lock(mutex_);
    ++live_forks_[label("outcome", outcome_of(report))];
    return;
  }
  count_pause(report->pause, report->durable_ms / kMillisecondsPerSecond);
  std::optional<double> first_ms;
  for (const LiveClone& clone : report->clones) {
    const double took_ms = clone.ready_ms - report->readable_ms;
    count_resume(requested, clone.resumed, took_ms / kMillisecondsPerSecond);
    if (clone.resumed) first_ms = std::min(first_ms.value_or(clone.ready_ms), clone.ready_ms);
  }
  const MutexLock lock(mutex_);
  ++live_forks_[label("outcome", "done")];
  for (const LiveClone& clone : report->clones) {
    ++live_fork_clones_[label("outcome", outcome_of(clone.resumed))];
  }
  live_fork_frozen_.add(report->pause.phases.frozen_ms / kMillisecondsPerSecond);
  if (first_ms) live_fork_first_clone_.add(*first_ms / kMillisecondsPerSecond);
}

void Metrics::count_merge(const Result<CompactReport>& report) {
  const MutexLock lock(mutex_);
  ++merges_[label("outcome", report ? word_of(report->outcome) : "failed")];
  if (!report || report->outcome != CompactOutcome::kMerged) return;
  merge_bytes_[label("kind", "read")] += report->read_bytes;
  merge_bytes_[label("kind", "written")] += report->written_bytes;
  merge_bytes_[label("kind", "cloned")] += report->cloned_bytes;
  merge_bytes_[label("kind", "freed")] += report->freed_bytes;
}

void Metrics::count_recover(const Result<RecoverReport>& report) {
  const MutexLock lock(mutex_);
  ++recovers_[label("outcome", outcome_of(report))];
  if (!report) return;
  for (const auto& [name, field] : kRecovered) recovered_[label("what", name)] += *report.*field;
}

void Metrics::count_fork(bool done) {
  const MutexLock lock(mutex_);
  ++forks_[label("outcome", done ? "done" : "failed")];
}

void Metrics::count_removal(bool done) {
  const MutexLock lock(mutex_);
  ++removals_[label("outcome", done ? "done" : "failed")];
}

void Metrics::count_request(unsigned status) {
  const MutexLock lock(mutex_);
  ++requests_[label("code", std::to_string(status))];
}

void Metrics::count_push(std::string_view outcome, std::uint64_t uploaded_bytes, double seconds) {
  const MutexLock lock(mutex_);
  ++pushes_[label("outcome", outcome)];
  pushed_bytes_ += uploaded_bytes;
  if (outcome != "failed") push_seconds_.add(seconds);
}

void Metrics::count_pull(const Result<PullReport>& report) {
  const MutexLock lock(mutex_);
  ++pulls_[label("outcome", outcome_of(report))];
  if (report) pulled_bytes_ += report->fetched_bytes;
}

void Metrics::count_cache(std::uint64_t cache_bytes, std::size_t evicted,
                          std::uint64_t evicted_bytes) {
  const MutexLock lock(mutex_);
  cache_bytes_ = cache_bytes;
  evictions_ += evicted;
  evicted_bytes_ += evicted_bytes;
}

void Metrics::count_remote_requests(const RemoteRequests& requests) {
  const MutexLock lock(mutex_);
  for (const auto& [outcome, count] : requests.by_outcome) {
    remote_requests_[label("outcome", outcome)] += count;
  }
  remote_retries_ += requests.repeated;
}

void Metrics::write_counters(MetricsText& text, std::string_view name, std::string_view help,
                             const Counters& counters) {
  text.describe(name, "counter", help);
  for (const auto& [labels, value] : counters) {
    text.sample(name, labels, static_cast<double>(value));
  }
}

void Metrics::write(MetricsText& text) const {
  const MutexLock lock(mutex_);
  write_counters(text, "pauses_total", "Pauses, by kind of memory file and outcome.", pauses_);
  write_counters(text, "pause_places_total", "Pauses by where Firecracker wrote the memory file.",
                 pause_places_);
  text.one("pause_stored_bytes_total", "counter", "Guest memory that pauses have stored.",
           static_cast<double>(stored_bytes_));
  text.describe("pause_seconds", "histogram", "Pauses from request to response.");
  pause_seconds_.write(text, "pause_seconds", "");
  text.describe("pause_phase_seconds", "histogram",
                "Phases of pauses; frozen is the sum of those in which the VM is frozen, and "
                "durable lasts from the pause request until the snapshot is on the disk.");
  for (const auto& [phase, histogram] : pause_phases_) {
    histogram.write(text, "pause_phase_seconds", fmt::format("phase=\"{}\"", phase));
  }
  write_counters(text, "resumes_total", "Resumes, by mode and outcome.", resumes_);
  text.describe("resume_seconds", "histogram", "Resumes from request to response.");
  for (const auto& [mode, histogram] : resume_seconds_) {
    histogram.write(text, "resume_seconds", fmt::format("mode=\"{}\"", mode));
  }
  write_counters(text, "merges_total", "Compactions, by outcome.", merges_);
  write_counters(text, "merge_bytes_total", "Bytes of merges, by kind.", merge_bytes_);
  write_counters(text, "recovers_total", "Recoveries of the store, by outcome.", recovers_);
  write_counters(text, "recovered_total", "Results of recoveries, by kind.", recovered_);
  write_counters(text, "forks_total", "Forks, by outcome.", forks_);
  write_counters(text, "live_forks_total", "Forks of VMs that run on, by outcome.", live_forks_);
  write_counters(text, "live_fork_clones_total",
                 "Clones of such forks whose checkpoint was stored, by outcome.",
                 live_fork_clones_);
  text.describe("live_fork_first_clone_seconds", "histogram",
                "From the beginning of such a fork until its first clone ran.");
  live_fork_first_clone_.write(text, "live_fork_first_clone_seconds", "");
  text.describe("live_fork_frozen_seconds", "histogram", "How long the source was frozen.");
  live_fork_frozen_.write(text, "live_fork_frozen_seconds", "");
  write_counters(text, "removals_total", "Removals of snapshots, by outcome.", removals_);
  write_counters(text, "pushes_total", "Pushes to a bucket, by outcome.", pushes_);
  text.one("push_bytes_total", "counter", "Bytes of objects that pushes have uploaded.",
           static_cast<double>(pushed_bytes_));
  text.describe("push_seconds", "histogram", "Pushes that did not fail.");
  push_seconds_.write(text, "push_seconds", "");
  write_counters(text, "pulls_total", "Pulls from a bucket, by outcome.", pulls_);
  text.one("pull_bytes_total", "counter", "Bytes that pulls have fetched.",
           static_cast<double>(pulled_bytes_));
  text.one("cache_bytes", "gauge",
           "Of snapshots that the bucket has too, when --cache-bytes was last enforced.",
           static_cast<double>(cache_bytes_));
  text.one("evictions_total", "counter", "Snapshots that --cache-bytes has evicted.",
           static_cast<double>(evictions_));
  text.one("evicted_bytes_total", "counter", "Bytes that evictions have freed.",
           static_cast<double>(evicted_bytes_));
  write_counters(text, "remote_requests_total",
                 "Requests to the bucket of pushes and pulls, by outcome; each attempt counts.",
                 remote_requests_);
  text.one("remote_retries_total", "counter", "Requests to the bucket that repeated a failed one.",
           static_cast<double>(remote_retries_));
  write_counters(text, "http_requests_total", "Requests, by status code.", requests_);
}

}  // namespace lamina::daemon
