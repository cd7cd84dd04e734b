// Brings near what populating will read: a thread that asks the kernel to read ahead exactly the
// recorded blocks, so that the serving threads do not wait for a cold disk.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <thread>

#include "base/mutex.h"
#include "server/snapshots.h"

namespace lamina::server {

class Prefetcher {
 public:
  Prefetcher();
  Prefetcher(const Prefetcher&) = delete;
  Prefetcher& operator=(const Prefetcher&) = delete;
  Prefetcher(Prefetcher&&) = delete;
  Prefetcher& operator=(Prefetcher&&) = delete;
  /// Gives up what has not been asked for yet.
  ~Prefetcher();

  /// Reads ahead the working set of `snapshot`, which must outlive this, if it has one. Blocks that
  /// are in memory already cost a system call for each run.
  void add(const Snapshot& snapshot);

 private:
  void run();
  void read_ahead(const Snapshot& snapshot) const;

  std::atomic<bool> stopping_ = false;
  Mutex mutex_;
  std::condition_variable_any wake_;
  std::deque<const Snapshot*> queue_ LAMINA_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace lamina::server
