#include "daemon/merger.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "base/stopwatch.h"
#include "lamina/compact.h"
#include "schema/report_json.h"

namespace lamina::daemon {

Merger::Merger(std::string store, std::function<MergeSettings()> settings, Metrics& metrics,
               Events& events)
    : store_(std::move(store)),
      settings_(std::move(settings)),
      metrics_(metrics),
      events_(events),
      thread_([this] { work(); }) {}

Merger::~Merger() {
  stop();
  thread_.join();
}

void Merger::stop() {
  {
    const std::scoped_lock lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
}

bool Merger::interrupted() {
  const std::scoped_lock lock(mutex_);
  return stopping_;
}

std::size_t Merger::queued() const {
  const std::scoped_lock lock(mutex_);
  return jobs_.size() + (current_.empty() ? 0 : 1);
}

void Merger::listed(const std::string& name, std::size_t layers) {
  const std::scoped_lock lock(mutex_);
  const auto known = layers_.find(name);
  if (known != layers_.end() && layers <= known->second) return;
  layers_[name] = layers;
  queue(name, false);
}

void Merger::paused(const std::string& name, std::size_t layers) {
  const std::scoped_lock lock(mutex_);
  layers_[name] = layers;
  queue(name, false);
}

void Merger::removed(const std::string& name) {
  const std::scoped_lock lock(mutex_);
  layers_.erase(name);
}

void Merger::compacted(const std::string& name, const CompactReport& report) {
  const std::scoped_lock lock(mutex_);
  layers_[name] = report.layers_after;
}

bool Merger::has_layers(const std::string& name, std::size_t least) const {
  const auto known = layers_.find(name);
  return known != layers_.end() && known->second >= least;
}

bool Merger::wait_before_pause(const std::string& name) {
  // The running merge may have begun before the last pause: then a second one is needed.
  constexpr int kMostMerges = 2;
  const auto limit = hard_layer_limit(settings_().policy);
  if (!limit || *limit == 0) return false;
  std::unique_lock lock(mutex_);
  if (!has_layers(name, *limit)) return false;
  ++waiting_[name];
  for (int i = 0; i < kMostMerges && !stopping_ && has_layers(name, *limit); ++i) {
    queue(name, true);
    const std::uint64_t before = ended_[name];
    changed_.wait(lock, [&] { return stopping_ || ended_[name] != before; });
  }
  if (--waiting_[name] == 0) {
    waiting_.erase(name);
    ended_.erase(name);
  }
  return true;
}

void Merger::queue(const std::string& name, bool urgent) {
  if (urgent && current_ == name) return;
  const auto queued =
      std::find_if(jobs_.begin(), jobs_.end(), [&](const Job& job) { return job.name == name; });
  if (queued != jobs_.end() && (queued->urgent || !urgent)) return;
  if (queued != jobs_.end()) jobs_.erase(queued);
  if (urgent) {
    jobs_.push_front({name, true});
  } else {
    jobs_.push_back({name, false});
  }
  changed_.notify_all();
}

void Merger::record(const std::string& name, const CompactReport& report) {
  // If a pause came meanwhile, its number of layers is newer, and it is queued.
  const bool is_newer =
      std::any_of(jobs_.begin(), jobs_.end(), [&](const Job& job) { return job.name == name; });
  if (!is_newer) layers_[name] = report.layers_after;
}

void Merger::work() {
  while (true) {
    Job job;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
      if (stopping_) return;
      job = std::move(jobs_.front());
      jobs_.pop_front();
      current_ = job.name;
    }
    try {
      merge(job);
    } catch (const std::exception& exception) {
      log(Level::kError, "merge", {{"name", job.name}, {"message", exception.what()}});
    }
    {
      const std::scoped_lock lock(mutex_);
      current_.clear();
      if (waiting_.contains(job.name)) ++ended_[job.name];
    }
    changed_.notify_all();
  }
}

void Merger::merge(const Job& job) {
  const MergeSettings settings = settings_();
  CompactOptions options;
  options.snapshot = store_ + "/" + job.name;
  options.policy = settings.policy;
  options.background = !job.urgent;
  options.rate_limit_bytes_s = job.urgent ? 0 : settings.rate_limit_bytes_s;
  options.progress = this;
  const Stopwatch stopwatch;
  auto report = compact(options);
  const double elapsed_ms = stopwatch.elapsed_ms();
  if (!report) {
    const ErrorKind kind = report.error().kind;
    // The snapshot was removed meanwhile, or the daemon is stopping.
    if (kind == ErrorKind::kNotFound || kind == ErrorKind::kInterrupted) return;
    metrics_.count_merge(report);
    Json fields = {{"name", job.name}, {"outcome", "failed"}};
    fields.update(error_fields(report.error()));
    return events_.add(Level::kError, "merge", fields);
  }
  metrics_.count_merge(report);
  {
    const std::scoped_lock lock(mutex_);
    record(job.name, *report);
  }
  if (report->outcome == CompactOutcome::kNothing) return;
  Json fields = {{"name", job.name}};
  report->snapshot = job.name;
  fields.update(schema::to_json(schema::CompactedAnswer{*report, elapsed_ms}));
  events_.add(report->outcome == CompactOutcome::kDropped ? Level::kWarning : Level::kInfo, "merge",
              fields);
}

}  // namespace lamina::daemon
