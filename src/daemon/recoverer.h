// Putting the store right: at the start, and again and again for VMs that have ended.
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
#include "lamina/lifecycle.h"

namespace lamina::daemon {

/// Thread-safe.
class Recoverer {
 public:
  /// Recovers at once, in a thread of its own, and then every interval() seconds.
  Recoverer(std::string store, std::vector<std::string> page_server_command,
            std::function<std::chrono::seconds()> interval, Metrics& metrics, Events& events,
            Merger& merger);
  Recoverer(const Recoverer&) = delete;
  Recoverer& operator=(const Recoverer&) = delete;
  Recoverer(Recoverer&&) = delete;
  Recoverer& operator=(Recoverer&&) = delete;
  ~Recoverer();

  /// Recovers now: our store, with our page server, whatever `options` name.
  Result<RecoverReport> recover(RecoverOptions options);

  /// True when the first recovery has ended.
  [[nodiscard]] bool has_recovered() const;

  /// Begins to end; a recovery that is under way goes on.
  void stop();
  /// True when the thread has ended after stop().
  [[nodiscard]] bool has_ended() const;

 private:
  void work();
  void look_for_merges();

  const std::string store_;
  const std::vector<std::string> page_server_command_;
  const std::function<std::chrono::seconds()> interval_;
  Metrics& metrics_;
  Events& events_;
  Merger& merger_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool recovered_ = false;
  bool stopping_ = false;
  bool ended_ = false;
  std::thread thread_;
};

}  // namespace lamina::daemon
