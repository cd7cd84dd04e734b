#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace lamina::daemon {

/// A number of threads that do jobs in the order in which these were given. Thread-safe.
class WorkerPool {
 public:
  /// At most `queue_limit` jobs wait besides those that run. Has fewer threads when not all can be
  /// started; std::system_error when none can.
  WorkerPool(std::size_t threads, std::size_t queue_limit);
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;
  WorkerPool(WorkerPool&&) = delete;
  WorkerPool& operator=(WorkerPool&&) = delete;
  /// Waits for all jobs.
  ~WorkerPool();

  /// False when too many wait: the job will not be done; nor when this throws (std::bad_alloc). A
  /// job must not throw.
  bool submit(std::function<void()> job);

 private:
  void work();

  const std::size_t queue_limit_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> jobs_;
  bool ending_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace lamina::daemon
