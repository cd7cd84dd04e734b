#include "http/worker_pool.h"

#include <algorithm>
#include <utility>

#include "base/contain.h"

namespace lamina::http {

WorkerPool::WorkerPool(std::size_t working, std::size_t max_threads, std::size_t queue_limit)
    : max_working_(static_cast<std::ptrdiff_t>(working)),
      max_threads_(std::max(working, max_threads)),
      queue_limit_(queue_limit) {
  threads_.reserve(max_threads_);
}

WorkerPool::~WorkerPool() {
  std::vector<std::thread> threads;
  {
    const std::scoped_lock lock(mutex_);
    ending_ = true;
    // No thread is added from here on.
    threads.swap(threads_);
  }
  changed_.notify_all();
  for (std::thread& thread : threads) thread.join();
}

bool WorkerPool::submit(std::function<void()> job) {
  {
    const std::scoped_lock lock(mutex_);
    if (ending_ || jobs_.size() >= queue_limit_) return false;
    jobs_.push_back(std::move(job));
    add_thread_if_needed();
    if (threads_.empty()) {
      jobs_.pop_back();
      return false;
    }
  }
  changed_.notify_one();
  return true;
}

void WorkerPool::count(int change) {
  {
    const std::scoped_lock lock(mutex_);
    working_ += change;
    add_thread_if_needed();
  }
  changed_.notify_one();
}

bool WorkerPool::may_begin() const { return !jobs_.empty() && working_ < max_working_; }

void WorkerPool::add_thread_if_needed() {
  // An idle thread takes one job. A thread too many stays idle, and costs a stack.
  const auto free = static_cast<std::size_t>(std::max<std::ptrdiff_t>(max_working_ - working_, 0));
  const std::size_t wanted = std::min(jobs_.size(), free);
  if (ending_ || idle_ >= wanted || threads_.size() >= max_threads_) return;
  // If no thread can be started, the job waits for an existing one.
  static_cast<void>(contain("thread", [&]() -> Status {
    threads_.emplace_back([this] { work(); });
    ++idle_;
    return {};
  }));
}

void WorkerPool::work() {
  os::observe_waits(&observer_);
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return may_begin() || (ending_ && jobs_.empty()); });
    if (jobs_.empty()) return;
    std::function<void()> job = std::move(jobs_.front());
    jobs_.pop_front();
    --idle_;
    ++working_;
    lock.unlock();
    // Another job may start too, and its notification may have woken this thread.
    changed_.notify_one();
    job();
    job = nullptr;
    lock.lock();
    --working_;
    ++idle_;
    // Wakes threads that wait for a free place, and the destructor's.
    changed_.notify_all();
  }
}

}  // namespace lamina::http
