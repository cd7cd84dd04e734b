#include "daemon/pusher.h"

#include <algorithm>
#include <ctime>
#include <exception>
#include <filesystem>
#include <system_error>
#include <utility>

#include "base/error.h"
#include "base/stopwatch.h"
#include "schema/remote_reports.h"
#include "schema/report_writer.h"

namespace lamina::daemon {
namespace {

/// The moment of a time in RFC 3339, UTC, on the monotonic clock; now if it cannot be read, or is
/// in the future.
PushQueue::TimePoint moment_of(const std::string& created) {
  const auto now = PushQueue::Clock::now();
  std::tm fields{};
  const char* end = ::strptime(created.c_str(), "%Y-%m-%dT%H:%M:%SZ", &fields);
  if (end == nullptr || *end != '\0') return now;
  const auto then = std::chrono::system_clock::from_time_t(::timegm(&fields));
  const auto age =
      std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now() - then);
  return age.count() < 0 ? now : now - age;
}

/// Errors of the snapshot or the settings stay the same; those of the bucket or its network may
/// not.
PushQueue::Retry retry_of(const Error& error) {
  switch (error.kind) {
    case ErrorKind::kUnsupported:
    case ErrorKind::kUsage:
    case ErrorKind::kExists:
      return PushQueue::Retry::kNever;
    default:
      return PushQueue::Retry::kLater;
  }
}

const char* push_outcome(const PushReport& report) {
  if (report.is_conflict) return "conflict";
  return report.is_already_there ? "already_there" : "done";
}

}  // namespace

Pusher::Pusher(std::string store, PushSettings settings, Metrics& metrics, Events& events)
    : store_(std::move(store)),
      settings_(std::move(settings)),
      metrics_(metrics),
      events_(events),
      queue_(settings_.longest_delay) {
  if (!is_enabled()) return;
  running_threads_ = settings_.parallel;
  threads_.reserve(settings_.parallel);
  for (std::size_t i = 0; i < settings_.parallel; ++i) threads_.emplace_back([this] { work(); });
}

Pusher::~Pusher() {
  stop();
  for (std::thread& thread : threads_) thread.join();
}

Status Pusher::check(const std::string& store, const PushSettings& settings) {
  if (settings.url.empty()) return {};
  // No name matches: only the URL is read.
  const auto states = list_unpushed({.url = settings.url, .store = store, .pattern = ""});
  if (states || states.error().kind == ErrorKind::kNotFound) return {};  // there is no store yet
  return std::unexpected(states.error());
}

void Pusher::stop() {
  {
    const std::scoped_lock lock(mutex_);
    is_stopping_ = true;
  }
  changed_.notify_all();
}

bool Pusher::has_ended() const {
  const std::scoped_lock lock(mutex_);
  return running_threads_ == 0;
}

void Pusher::look() {
  if (!is_enabled()) return;
  compare();
  {
    const std::scoped_lock lock(mutex_);
    is_id_due_ = true;
  }
  changed_.notify_all();
}

void Pusher::compare() {
  const auto read = PushQueue::Clock::now();
  UnpushedOptions options{.url = settings_.url, .store = store_, .pattern = settings_.names};
  {
    const std::scoped_lock lock(mutex_);
    options.bucket_id = bucket_id_;
  }
  const auto states = list_unpushed(options);
  if (!states) {
    // A directory that is not a store yet has nothing to push.
    if (states.error().kind != ErrorKind::kNotFound) {
      log(Level::kWarning, "push", error_fields(states.error()));
    }
    return;
  }
  std::vector<PushQueue::Found> found;
  found.reserve(states->size());
  for (const UnpushedState& state : *states) {
    found.push_back({state.name, state.pause_id, moment_of(state.created)});
  }
  {
    const std::scoped_lock lock(mutex_);
    queue_.update(found, read);
    if (failed_without_key_ && !lacks_key()) {
      failed_without_key_ = false;
      queue_.retry_failed(PushQueue::Clock::now());
    }
  }
  changed_.notify_all();
}

void Pusher::read_id() {
  RemoteRequests requests;
  const auto id = read_bucket_id({.url = settings_.url, .requests = &requests, .progress = this});
  metrics_.count_remote_requests(requests);
  if (!id) return;  // pushes report what is wrong with the bucket
  std::optional<Uuid> before;
  {
    const std::scoped_lock lock(mutex_);
    before = std::exchange(bucket_id_, *id);
  }
  if (before == *id) return;
  if (before && !before->is_nil()) {
    events_.add(Level::kWarning, "bucket_changed",
                {{"url", settings_.url},
                 {"message", "the bucket was emptied or made anew; all states are pushed again"}});
  }
  compare();
}

void Pusher::added(const std::string& name, const Uuid& pause_id) {
  if (!is_enabled() || !matches_pattern(name, settings_.names)) return;
  {
    const std::scoped_lock lock(mutex_);
    queue_.add(name, pause_id, PushQueue::Clock::now());
  }
  changed_.notify_all();
}

void Pusher::removed(const std::string& name) {
  const std::scoped_lock lock(mutex_);
  queue_.remove(name);
}

std::vector<PushQueue::Entry> Pusher::entries() const {
  const std::scoped_lock lock(mutex_);
  return queue_.entries();
}

std::size_t Pusher::queued() const {
  const std::scoped_lock lock(mutex_);
  return queue_.waiting();
}

void Pusher::write(MetricsText& text) const {
  const std::scoped_lock lock(mutex_);
  text.one("push_queue", "gauge", "Snapshots whose latest state waits to be pushed, or is pushed.",
           static_cast<double>(queue_.waiting()));
  text.one("push_queue_failed", "gauge", "Snapshots whose latest state cannot be pushed.",
           static_cast<double>(queue_.failed_entries()));
  const std::chrono::duration<double> age = queue_.oldest_age(PushQueue::Clock::now());
  text.one("push_oldest_seconds", "gauge",
           "How long the oldest state has not been pushed; 0 if there is none.", age.count());
}

void Pusher::work() {
  std::unique_lock lock(mutex_);
  while (!is_stopping_) {
    if (is_id_due_ && !is_reading_id_) {
      is_id_due_ = false;
      is_reading_id_ = true;
      lock.unlock();
      try {
        read_id();
      } catch (const std::exception& exception) {
        log(Level::kError, "push", {{"message", exception.what()}});
      }
      lock.lock();
      is_reading_id_ = false;
      continue;
    }
    const auto entry = queue_.take(PushQueue::Clock::now());
    if (!entry) {
      const auto next = queue_.next_time();
      if (next) {
        changed_.wait_until(lock, *next);
      } else {
        changed_.wait(lock);
      }
      continue;
    }
    lock.unlock();
    try {
      push_entry(*entry);
    } catch (const std::exception& exception) {
      const std::scoped_lock failing(mutex_);
      queue_.failed(*entry, {ErrorKind::kFailed, exception.what()}, PushQueue::Retry::kLater,
                    PushQueue::Clock::now(), 0);
    }
    changed_.notify_all();
    lock.lock();
  }
  --running_threads_;
}

void Pusher::push_entry(const PushQueue::Entry& entry) {
  PushOptions options;
  options.url = settings_.url;
  options.snapshot = store_ + "/" + entry.name;
  options.background = true;
  options.rate_limit_bytes_s = settings_.rate_limit_bytes_s / settings_.parallel;
  if (settings_.rate_limit_bytes_s > 0 && options.rate_limit_bytes_s == 0) {
    options.rate_limit_bytes_s = 1;
  }
  auto report = push_counted(options);
  const bool is_interrupted = !report && report.error().kind == ErrorKind::kInterrupted;
  if (is_interrupted && is_stopping_) return;
  if (!report && is_gone(entry)) {
    const std::scoped_lock lock(mutex_);
    return queue_.drop(entry, PushQueue::Clock::now());
  }
  auto retry = report ? PushQueue::Retry::kLater : retry_of(report.error());
  const bool has_no_key = !report && lacks_key();
  if (has_no_key) {
    // Nothing is gained by repeating it: look() does, once the file is there.
    retry = PushQueue::Retry::kNever;
    report.error().remedy = fmt::format(
        "put the key file '{}' back, with mode 0600: the daemon then pushes what has failed",
        settings_.key_file);
  }
  // An event for each failure in a row would hide the others: the queue shows the last error.
  if (report || entry.attempts == 0 || retry == PushQueue::Retry::kNever) {
    add_event(entry.name, report, entry.attempts);
  }
  const std::scoped_lock lock(mutex_);
  if (report) {
    forget_missing_id();
    return queue_.done(entry, report->pause_id, PushQueue::Clock::now());
  }
  failed_without_key_ = failed_without_key_ || has_no_key;
  const double random = std::uniform_real_distribution<double>(0, 1)(random_);
  queue_.failed(entry, report.error(), retry, PushQueue::Clock::now(), random);
}

void Pusher::forget_missing_id() {
  if (bucket_id_ && bucket_id_->is_nil()) bucket_id_.reset();
}

bool Pusher::lacks_key() const {
  if (settings_.key_file.empty()) return false;
  std::error_code error;
  const auto status = std::filesystem::status(settings_.key_file, error);
  constexpr auto kOthers = std::filesystem::perms::group_all | std::filesystem::perms::others_all;
  return !std::filesystem::is_regular_file(status) ||
         (status.permissions() & kOthers) != std::filesystem::perms::none;
}

bool Pusher::is_gone(const PushQueue::Entry& entry) const {
  std::error_code error;
  const bool is_there = std::filesystem::exists(store_ + "/" + entry.name, error);
  return !is_there && !error;
}

Result<PushReport> Pusher::push(PushOptions options) {
  const bool is_own_bucket = options.url.empty() || options.url == settings_.url;
  if (options.url.empty()) options.url = settings_.url;
  if (options.url.empty()) {
    return with_remedy(
        fail(ErrorKind::kUsage, "the request has no bucket, and the daemon has none"),
        "give `url`, or start the daemon with --push");
  }
  const std::string name = options.snapshot.substr(options.snapshot.rfind('/') + 1);
  auto report = push_counted(options);
  add_event(name, report, 0);
  if (report && is_own_bucket && (options.name.empty() || options.name == name)) {
    const std::scoped_lock lock(mutex_);
    forget_missing_id();
    queue_.pushed(name, report->pause_id, PushQueue::Clock::now());
  }
  return report;
}

Result<PushReport> Pusher::push_counted(PushOptions& options) {
  RemoteRequests requests;
  options.key_file = settings_.key_file;
  options.key_command = settings_.key_command;
  options.requests = &requests;
  options.progress = this;
  const Stopwatch stopwatch;
  auto report = push_snapshot(options);
  options.requests = nullptr;
  metrics_.count_remote_requests(requests);
  const bool is_interrupted = !report && report.error().kind == ErrorKind::kInterrupted;
  if (!is_interrupted) {
    metrics_.count_push(report ? push_outcome(*report) : "failed",
                        report ? report->uploaded_bytes : 0, stopwatch.seconds());
  }
  return report;
}

void Pusher::add_event(const std::string& name, const Result<PushReport>& report,
                       std::uint32_t attempts) {
  Json fields = {{"name", name}};
  if (!report) {
    fields["outcome"] = "failed";
    fields.update(error_fields(report.error()));
    return events_.add(Level::kWarning, "push", fields);
  }
  fields["outcome"] = push_outcome(*report);
  fields["failed_attempts"] = attempts;
  Json published = schema::ReportWriter::write(*report);
  for (const char* field : {"message_type", "name", "snapshot"}) published.erase(field);
  fields["published_as"] = report->name;
  fields.update(published);
  events_.add(report->is_conflict ? Level::kWarning : Level::kInfo, "push", fields);
}

}  // namespace lamina::daemon
