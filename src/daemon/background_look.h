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

/// Something that takes a while to find out, found out by a thread of its own when it is asked for:
/// whoever asks waits for as long as it wants to, and gets what was seen last. Thread-safe.
template <typename T>
class BackgroundLook {
 public:
  using Clock = std::chrono::steady_clock;

  /// What was seen.
  struct Seen {
    std::shared_ptr<const T> value;  ///< null: nothing yet
    bool is_fresh = false;           ///< no older than was asked for
    Clock::time_point when;          ///< the beginning of the look
  };

  /// When to look for the first time.
  enum class First : std::uint8_t { kAtOnce, kWhenAsked };

  /// `look` must not throw.
  BackgroundLook(std::function<T()> look, First first)
      : look_(std::move(look)), is_wanted_(first == First::kAtOnce), thread_([this] { work(); }) {}
  BackgroundLook(const BackgroundLook&) = delete;
  BackgroundLook& operator=(const BackgroundLook&) = delete;
  BackgroundLook(BackgroundLook&&) = delete;
  BackgroundLook& operator=(BackgroundLook&&) = delete;
  /// Waits for a look that is under way: see has_ended().
  ~BackgroundLook() {
    stop();
    thread_.join();
  }

  /// What was seen before is not true any more. Waits for nobody.
  void outdate() {
    const std::scoped_lock lock(mutex_);
    outdated_ = Clock::now();
  }

  /// Takes what somebody else has just seen.
  void set(T value) {
    const std::scoped_lock lock(mutex_);
    seen_ = std::make_shared<const T>(std::move(value));
    when_ = Clock::now();
  }

  /// What was seen at most `max_age` ago, and waits for it at most `patience`; else what was seen
  /// last, while a new look is under way.
  Seen get(std::chrono::milliseconds max_age, std::chrono::milliseconds patience) {
    std::unique_lock lock(mutex_);
    const Clock::time_point needed = std::max(outdated_, Clock::now() - max_age);
    const auto is_fresh = [&] { return seen_ && when_ >= needed; };
    if (!is_fresh()) {
      // One that is under way and began late enough will do.
      if (!looking_since_ || *looking_since_ < needed) is_wanted_ = true;
      changed_.notify_all();
      if (patience.count() > 0) {
        changed_.wait_for(lock, patience, [&] { return is_fresh() || stopping_; });
      }
    }
    return {seen_, is_fresh(), when_};
  }

  /// Begins to end; nobody waits any more.
  void stop() {
    {
      const std::scoped_lock lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
  }
  /// True when the thread has ended after stop().
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
      looking_since_ = begin;
      lock.unlock();
      auto seen = std::make_shared<const T>(look_());
      lock.lock();
      looking_since_.reset();
      // Somebody may have known better meanwhile.
      if (!seen_ || when_ <= begin) {
        seen_ = std::move(seen);
        when_ = begin;
      }
      changed_.notify_all();
    }
  }

  const std::function<T()> look_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::shared_ptr<const T> seen_;
  Clock::time_point when_;
  Clock::time_point outdated_;
  std::optional<Clock::time_point> looking_since_;  ///< the look that is under way
  bool is_wanted_;
  bool stopping_ = false;
  bool ended_ = false;
  std::thread thread_;  ///< the last: it uses the others
};

}  // namespace lamina::daemon
