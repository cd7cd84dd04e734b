// The daemon's counters, in Prometheus' text format. Gauges of the store are in store_status.h.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "base/mutex.h"
#include "lamina/compact.h"
#include "lamina/lifecycle.h"
#include "lamina/live_fork.h"
#include "lamina/remote.h"

namespace lamina::daemon {

/// Writes metrics as text: describe() once for each metric, then its samples.
class MetricsText {
 public:
  void describe(std::string_view name, std::string_view type, std::string_view help);
  /// `labels`: "" or "{name=\"value\"}".
  void sample(std::string_view name, std::string_view labels, double value);
  /// A metric with one sample and no labels.
  void one(std::string_view name, std::string_view type, std::string_view help, double value);
  std::string take() { return std::move(text_); }

 private:
  std::string text_;
};

/// A histogram of durations from 100 us to 100 s.
class Histogram {
 public:
  void add(double seconds);
  /// `labels`: as in `name="value"`, without braces; may be empty.
  void write(MetricsText& text, std::string_view name, const std::string& labels) const;

 private:
  static constexpr std::array kBounds = {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01,
                                         0.025,  0.05,    0.1,    0.25,  0.5,    1.0,   2.5,
                                         5.0,    10.0,    25.0,   50.0,  100.0};
  std::array<std::uint64_t, kBounds.size()> counts_{};  ///< of each bucket alone; +Inf is count_
  std::uint64_t count_ = 0;
  double sum_ = 0;
};

/// Counters of the operations. Thread-safe.
class Metrics {
 public:
  Metrics();

  void count_pause(const Result<PauseReport>& report, double seconds);
  void count_resume(ResumeMode requested, const Result<ResumeReport>& report, double seconds);
  /// Its checkpoint counts as a pause, and each clone as a resume. `requested`: of the clones.
  void count_live_fork(ResumeMode requested, const Result<LiveForkReport>& report, double seconds);
  void count_merge(const Result<CompactReport>& report);
  void count_recover(const Result<RecoverReport>& report);
  void count_fork(bool done);
  void count_removal(bool done);
  void count_request(unsigned status);
  /// `outcome`: "done", "already_there", "conflict" or "failed".
  void count_push(std::string_view outcome, std::uint64_t uploaded_bytes, double seconds);
  void count_pull(const Result<PullReport>& report);
  /// What the cache takes after its bound was enforced, and what that evicted.
  void count_cache(std::uint64_t cache_bytes, std::size_t evicted, std::uint64_t evicted_bytes);
  void count_remote_requests(const RemoteRequests& requests);

  void write(MetricsText& text) const;

 private:
  using Counters = std::map<std::string, std::uint64_t>;  ///< by labels

  static void write_counters(MetricsText& text, std::string_view name, std::string_view help,
                             const Counters& counters);

  mutable Mutex mutex_;
  Counters pauses_ LAMINA_GUARDED_BY(mutex_);
  Counters pause_places_ LAMINA_GUARDED_BY(mutex_);
  Counters resumes_ LAMINA_GUARDED_BY(mutex_);
  Counters merges_ LAMINA_GUARDED_BY(mutex_);
  Counters merge_bytes_ LAMINA_GUARDED_BY(mutex_);
  Counters recovers_ LAMINA_GUARDED_BY(mutex_);
  Counters recovered_ LAMINA_GUARDED_BY(mutex_);
  Counters forks_ LAMINA_GUARDED_BY(mutex_);
  Counters live_forks_ LAMINA_GUARDED_BY(mutex_);
  Counters live_fork_clones_ LAMINA_GUARDED_BY(mutex_);
  Histogram live_fork_first_clone_ LAMINA_GUARDED_BY(mutex_);
  Histogram live_fork_frozen_ LAMINA_GUARDED_BY(mutex_);
  Counters removals_ LAMINA_GUARDED_BY(mutex_);
  Counters requests_ LAMINA_GUARDED_BY(mutex_);
  Counters pushes_ LAMINA_GUARDED_BY(mutex_);
  Counters pulls_ LAMINA_GUARDED_BY(mutex_);
  Counters remote_requests_ LAMINA_GUARDED_BY(mutex_);
  std::uint64_t remote_retries_ LAMINA_GUARDED_BY(mutex_) = 0;
  std::uint64_t pushed_bytes_ LAMINA_GUARDED_BY(mutex_) = 0;
  std::uint64_t pulled_bytes_ LAMINA_GUARDED_BY(mutex_) = 0;
  std::uint64_t cache_bytes_ LAMINA_GUARDED_BY(mutex_) = 0;
  std::uint64_t evictions_ LAMINA_GUARDED_BY(mutex_) = 0;
  std::uint64_t evicted_bytes_ LAMINA_GUARDED_BY(mutex_) = 0;
  Histogram push_seconds_ LAMINA_GUARDED_BY(mutex_);
  std::uint64_t stored_bytes_ LAMINA_GUARDED_BY(mutex_) = 0;
  std::map<std::string, Histogram> pause_phases_ LAMINA_GUARDED_BY(mutex_);
  Histogram pause_seconds_ LAMINA_GUARDED_BY(mutex_);
  std::map<std::string, Histogram> resume_seconds_ LAMINA_GUARDED_BY(mutex_);
};

}  // namespace lamina::daemon
