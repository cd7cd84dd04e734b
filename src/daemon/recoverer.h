// Recovery of the store (lamina::recover()): at the start, and at intervals for VMs that have
// ended.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "daemon/events.h"
#include "daemon/merger.h"
#include "daemon/metrics.h"
#include "daemon/pusher.h"
#include "lamina/lifecycle.h"

namespace lamina::daemon {

/// Thread-safe.
class Recoverer {
 public:
  /// Starts a thread that recovers at once, and then each interval(). Each recovery also lets the
  /// pusher look at the store.
  Recoverer(std::string store, std::vector<std::string> page_server_command,
            std::function<std::chrono::seconds()> interval, Metrics& metrics, Events& events,
            Merger& merger, Pusher& pusher);
  Recoverer(const Recoverer&) = delete;
  Recoverer& operator=(const Recoverer&) = delete;
  Recoverer(Recoverer&&) = delete;
  Recoverer& operator=(Recoverer&&) = delete;
  ~Recoverer();

  /// Recovers in the calling thread. Replaces the store and the page server's command of `options`
  /// with the daemon's.
  Result<RecoverReport> recover(RecoverOptions options);

  /// True after the first recovery.
  [[nodiscard]] bool has_recovered() const;

  /// Stops the thread after a running recovery, without waiting for it.
  void stop();
  /// True if the thread has ended after stop().
  [[nodiscard]] bool has_ended() const;

 private:
  void work();
  /// Tells the merger the snapshots' layers: other processes may pause into the store too.
  void report_layers();

  const std::string store_;
  const std::vector<std::string> page_server_command_;
  const std::function<std::chrono::seconds()> interval_;
  Metrics& metrics_;
  Events& events_;
  Merger& merger_;
  Pusher& pusher_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool recovered_ = false;
  bool stopping_ = false;
  bool ended_ = false;
  std::thread thread_;
};

}  // namespace lamina::daemon
