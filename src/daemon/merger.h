// Merging in the background: one thread compacts what has been paused, one snapshot at a time, with
// idle priority. Pauses do not wait for it, but for one case: a snapshot that has as many layers as
// the policy's hard limit is merged before it is paused again.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>

#include "daemon/events.h"
#include "daemon/metrics.h"
#include "lamina/progress.h"

namespace lamina::daemon {

/// What may change while the daemon runs.
struct MergeSettings {
  std::string policy;
  std::uint64_t rate_limit_bytes_s = 0;  ///< 0: no limit
};

/// Thread-safe.
class Merger : private Progress {
 public:
  Merger(std::string store, std::function<MergeSettings()> settings, Metrics& metrics,
         Events& events);
  Merger(const Merger&) = delete;
  Merger& operator=(const Merger&) = delete;
  Merger(Merger&&) = delete;
  Merger& operator=(Merger&&) = delete;
  /// Interrupts a merge, which then leaves the snapshot as it was.
  ~Merger() override;

  /// A snapshot has so many layers: looks into it when they are more than it knew of.
  void seen(const std::string& name, std::size_t layers);

  /// The same after a pause: looks into it in any case.
  void paused(const std::string& name, std::size_t layers);

  void removed(const std::string& name);

  /// Waits for a merge of `name` while it is at the policy's hard limit; for two at most, whatever
  /// comes of them.
  /// True when it waited.
  bool wait_before_pause(const std::string& name);

  /// Notes what a compaction by somebody else has found.
  void compacted(const std::string& name, const CompactReport& report);

  /// Snapshots that wait to be looked into, and the one that is.
  [[nodiscard]] std::size_t queued() const;

  /// Begins to end; nobody waits any more.
  void stop();

 private:
  struct Job {
    std::string name;
    bool urgent = false;  ///< a pause waits for it
  };

  void begin(std::string_view /*phase*/, std::uint64_t /*total_bytes*/) override {}
  void advance(std::uint64_t /*bytes*/) override {}
  bool interrupted() override;

  void work();
  void merge(const Job& job);
  void queue(const std::string& name, bool urgent);                 // REQUIRES: mutex_
  void note(const std::string& name, const CompactReport& report);  // REQUIRES: mutex_
  [[nodiscard]] bool has_layers(const std::string& name, std::size_t least) const;  // as above

  const std::string store_;
  const std::function<MergeSettings()> settings_;
  Metrics& metrics_;
  Events& events_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> jobs_;
  std::string current_;                         ///< empty: none
  std::map<std::string, std::size_t> layers_;   ///< as last heard
  std::map<std::string, std::uint64_t> ended_;  ///< merges, of those that are waited for
  std::map<std::string, std::size_t> waiting_;  ///< how many wait
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace lamina::daemon
