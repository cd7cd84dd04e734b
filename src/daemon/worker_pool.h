#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "os/long_wait.h"

namespace lamina::daemon {

/// Threads that do jobs in the order in which these were given. A bounded number of jobs works at
/// once. A job that waits for another process (os::LongWait) does not count meanwhile: others
/// begin in threads of their own, so that VMMs, hooks and debuggers that keep their jobs waiting
/// hold up nobody else. A job whose wait has ended goes on at once: a VM may be frozen for it.
/// Thread-safe.
class WorkerPool {
 public:
  /// At most `working` jobs work at once, in at most `max_threads` threads; at most `queue_limit`
  /// jobs wait for their beginning.
  WorkerPool(std::size_t working, std::size_t max_threads, std::size_t queue_limit);
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
  /// The waits of the pool's own threads.
  class Observer : public os::WaitObserver {
   public:
    explicit Observer(WorkerPool& pool) : pool_(pool) {}
    void wait_begins() override { pool_.count(-1); }
    void wait_ends() override { pool_.count(+1); }

   private:
    WorkerPool& pool_;
  };

  /// One job more or less works.
  void count(int change);
  [[nodiscard]] bool may_begin() const;  // REQUIRES: mutex_
  void add_thread_if_needed();           // REQUIRES: mutex_
  void work();

  const std::ptrdiff_t max_working_;
  const std::size_t max_threads_;
  const std::size_t queue_limit_;
  Observer observer_{*this};
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> jobs_;
  std::ptrdiff_t working_ = 0;  ///< may be above its limit: jobs whose waits have ended
  std::size_t idle_ = 0;        ///< threads without a job
  bool ending_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace lamina::daemon
