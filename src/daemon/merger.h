// Background merges: one thread compacts snapshots that were paused, one at a time, with idle
// priority. A pause waits for it only if its snapshot has as many layers as the policy's hard
// limit.
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

/// Settings that may change while the daemon runs.
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
  /// Interrupts a running merge, which leaves the snapshot unchanged.
  ~Merger() override;

  /// A listing shows that `name` has so many layers. Queues it if they are more than were known.
  void listed(const std::string& name, std::size_t layers);

  /// A pause has given `name` so many layers. Queues it.
  void paused(const std::string& name, std::size_t layers);

  /// `name` was removed.
  void removed(const std::string& name);

  /// If `name` is at the policy's hard limit, has it merged and waits for that; for two merges at
  /// most, also if they fail. True if it waited.
  bool wait_before_pause(const std::string& name);

  /// A request has compacted `name`.
  void compacted(const std::string& name, const CompactReport& report);

  /// Number of queued snapshots, with the one that is being compacted.
  [[nodiscard]] std::size_t queued() const;

  /// Stops the thread without waiting for it. Ends all waits.
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
  void queue(const std::string& name, bool urgent);                   // REQUIRES: mutex_
  void record(const std::string& name, const CompactReport& report);  // REQUIRES: mutex_
  [[nodiscard]] bool has_layers(const std::string& name,
                                std::size_t least) const;  // REQUIRES: mutex_

  const std::string store_;
  const std::function<MergeSettings()> settings_;
  Metrics& metrics_;
  Events& events_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> jobs_;
  std::string current_;                         ///< name that is being compacted; empty: none
  std::map<std::string, std::size_t> layers_;   ///< last known numbers
  std::map<std::string, std::uint64_t> ended_;  ///< ended merges of names in waiting_
  std::map<std::string, std::size_t> waiting_;  ///< number of pauses that wait for a name
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace lamina::daemon
