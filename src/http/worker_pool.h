#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "os/long_wait.h"

namespace lamina::http {

/// Threads that run jobs, started in the order of submission. The number of jobs that run at the
/// same time is limited. A job that waits for another process (os::LongWait) does not count: other
/// jobs start in further threads, so a slow VMM, hook or debugger delays only its own job. When its
/// wait has ended, a job goes on at once, even above the limit: a VM may be frozen for it.
/// Thread-safe.
class WorkerPool {
 public:
  /// At most `working` jobs run at the same time, in at most `max_threads` threads. At most
  /// `queue_limit` jobs wait for their start.
  WorkerPool(std::size_t working, std::size_t max_threads, std::size_t queue_limit);
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;
  WorkerPool(WorkerPool&&) = delete;
  WorkerPool& operator=(WorkerPool&&) = delete;
  /// Waits for all jobs.
  ~WorkerPool();

  /// False if the queue is full. The job does not run then, nor if this throws (std::bad_alloc). A
  /// job must not throw.
  bool submit(std::function<void()> job);

 private:
  /// Observes the waits of the pool's threads.
  class Observer : public os::WaitObserver {
   public:
    explicit Observer(WorkerPool& pool) : pool_(pool) {}
    void wait_begins() override { pool_.count(-1); }
    void wait_ends() override { pool_.count(+1); }

   private:
    WorkerPool& pool_;
  };

  /// Adds `change` to the number of running jobs.
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
  std::ptrdiff_t working_ = 0;  ///< may exceed its limit: jobs whose waits have ended
  std::size_t idle_ = 0;        ///< threads without a job
  bool ending_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace lamina::http
