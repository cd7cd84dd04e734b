#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

namespace lamina::daemon {

/// A value that takes a while to compute. A thread computes it when get() asks for a newer one.
/// get() waits for that no longer than its caller wants, and else returns the last value.
/// Thread-safe.
template <typename T>
class BackgroundValue {
 public:
  using Clock = std::chrono::steady_clock;

  struct Reading {
    std::shared_ptr<const T> value;  ///< null: there is none yet
    bool is_fresh = false;           ///< not older than was asked for
    Clock::time_point when;          ///< when its computation began
  };

  /// When to compute it for the first time.
  enum class First : std::uint8_t { kAtOnce, kOnDemand };

  /// `compute` must not throw.
  BackgroundValue(std::function<T()> compute, First first)
      : compute_(std::move(compute)),
        is_wanted_(first == First::kAtOnce),
        thread_([this] { work(); }) {}
  BackgroundValue(const BackgroundValue&) = delete;
  BackgroundValue& operator=(const BackgroundValue&) = delete;
  BackgroundValue(BackgroundValue&&) = delete;
  BackgroundValue& operator=(BackgroundValue&&) = delete;
  /// Waits for a running computation: see has_ended().
  ~BackgroundValue() {
    stop();
    thread_.join();
  }

  /// Marks the value as outdated. Does not wait.
  void invalidate() {
    const std::scoped_lock lock(mutex_);
    outdated_ = Clock::now();
  }

  /// Sets the value, which the caller knows from elsewhere.
  void set(T value) {
    const std::scoped_lock lock(mutex_);
    value_ = std::make_shared<const T>(std::move(value));
    when_ = Clock::now();
  }

  /// A value that is neither outdated nor older than `max_age`. If there is none, has it computed
  /// and waits for that, at most for `max_wait`; after that returns the last value.
  Reading get(std::chrono::milliseconds max_age, std::chrono::milliseconds max_wait) {
    std::unique_lock lock(mutex_);
    const Clock::time_point needed = std::max(outdated_, Clock::now() - max_age);
    const auto is_fresh = [&] { return value_ && when_ >= needed; };
    if (!is_fresh()) {
      // A running computation that began late enough will do.
      if (!running_since_ || *running_since_ < needed) is_wanted_ = true;
      changed_.notify_all();
      if (max_wait.count() > 0) {
        changed_.wait_for(lock, max_wait, [&] { return is_fresh() || stopping_; });
      }
    }
    return {value_, is_fresh(), when_};
  }

  /// Stops the thread without waiting for it. Ends all waits in get().
  void stop() {
    {
      const std::scoped_lock lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
  }
  /// True if the thread has ended after stop().
  [[nodiscard]] bool has_ended() const {
    const std::scoped_lock lock(mutex_);
    return ended_;
  }

 private:
  void work() {
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [this] { return stopping_ || is_wanted_; });
      ended_ = stopping_;
      if (stopping_) return;
      is_wanted_ = false;
      const Clock::time_point begin = Clock::now();
      running_since_ = begin;
      lock.unlock();
      auto computed = std::make_shared<const T>(compute_());
      lock.lock();
      running_since_.reset();
      // set() may have set a newer value meanwhile.
      if (!value_ || when_ <= begin) {
        value_ = std::move(computed);
        when_ = begin;
      }
      changed_.notify_all();
    }
  }

  const std::function<T()> compute_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::shared_ptr<const T> value_;
  Clock::time_point when_;
  Clock::time_point outdated_;
  std::optional<Clock::time_point> running_since_;  ///< begin of the running computation
  bool is_wanted_;
  bool stopping_ = false;
  bool ended_ = false;
  std::thread thread_;  ///< last: it uses the members above
};

}  // namespace lamina::daemon
