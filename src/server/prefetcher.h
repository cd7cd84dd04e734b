// A thread that asks the kernel to read ahead exactly the blocks of a recorded working set, so that
// the serving threads do not wait for a cold disk.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <thread>

#include "base/mutex.h"
#include "server/snapshots.h"

namespace lamina::server {

class Prefetcher {
 public:
  static Result<std::unique_ptr<Prefetcher>> start();
  Prefetcher(const Prefetcher&) = delete;
  Prefetcher& operator=(const Prefetcher&) = delete;
  Prefetcher(Prefetcher&&) = delete;
  Prefetcher& operator=(Prefetcher&&) = delete;
  /// Drops what has not been requested from the kernel yet.
  ~Prefetcher();

  /// Reads ahead the working set that a VM's plan begins with. Each run costs a system call, even
  /// if it is cached. Does nothing if memory is short.
  void add(const Service& service) noexcept;

 private:
  Prefetcher() = default;

  /// Keeps the snapshot open until it has been read ahead.
  struct Wanted {
    std::shared_ptr<const Snapshot> snapshot;
    std::shared_ptr<const pager::PopulatePlan> plan;
    bool operator==(const Wanted&) const = default;
  };

  void run();
  void read_ahead(const Wanted& wanted) const;

  std::atomic<bool> stopping_ = false;
  Mutex mutex_;
  std::condition_variable_any wake_;
  std::deque<Wanted> queue_ LAMINA_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace lamina::server
