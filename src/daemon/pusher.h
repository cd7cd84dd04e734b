// Pushes to the bucket of --push: threads that push the states of the queue (push_queue.h), a
// limited number at a time, with idle priority. A push takes no lock that a pause or a resume
// needs.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "daemon/events.h"
#include "daemon/metrics.h"
#include "daemon/push_queue.h"
#include "daemon/settings.h"
#include "lamina/progress.h"
#include "lamina/remote.h"

namespace lamina::daemon {

/// Thread-safe.
class Pusher : private Progress {
 public:
  /// Without a bucket it does nothing.
  Pusher(std::string store, PushSettings settings, Metrics& metrics, Events& events);
  Pusher(const Pusher&) = delete;
  Pusher& operator=(const Pusher&) = delete;
  Pusher(Pusher&&) = delete;
  Pusher& operator=(Pusher&&) = delete;
  /// Interrupts running pushes, which can be repeated, and waits for them.
  ~Pusher() override;

  /// kUsage if the settings cannot be used; kUnsupported in a build without the object tier.
  static Status check(const std::string& store, const PushSettings& settings);

  [[nodiscard]] const PushSettings& settings() const { return settings_; }
  [[nodiscard]] bool is_enabled() const { return !settings_.url.empty(); }

  /// Compares the queue with the store: other processes pause and remove too, and a daemon before
  /// this one may have left something. Lets a thread read the bucket's id: if that has changed, the
  /// bucket was emptied or made anew, and the store is compared with it once more. Waits for no
  /// request.
  void look();

  /// `name` has a new state.
  void added(const std::string& name, const Uuid& pause_id);
  /// `name` was removed.
  void removed(const std::string& name);

  /// Pushes at once, in the calling thread. Empty `url`: the bucket of --push; its key is used in
  /// any case. Counts the push, and adds its event. `options.snapshot` is a path of the store.
  Result<PushReport> push(PushOptions options);

  /// The queue, in the order of age.
  [[nodiscard]] std::vector<PushQueue::Entry> entries() const;
  /// Entries that wait or are being pushed.
  [[nodiscard]] std::size_t queued() const;

  void write(MetricsText& text) const;

  /// Interrupts operations on a bucket once stop() was called.
  [[nodiscard]] Progress* interruption() { return this; }

  /// Stops the threads without waiting for them.
  void stop();
  /// True if the threads have ended after stop().
  [[nodiscard]] bool has_ended() const;

 private:
  void begin(std::string_view /*phase*/, std::uint64_t /*total_bytes*/) override {}
  void advance(std::uint64_t /*bytes*/) override {}
  [[nodiscard]] bool interrupted() override { return is_stopping_; }

  void work();
  /// Updates the queue by the store's push records, as far as they are of the bucket that is known.
  void compare();
  /// Reads the bucket's id, and compares again if it has changed.
  void read_id();
  /// A push has made the id that the bucket did not have. REQUIRES: mutex_ is held.
  void forget_missing_id();
  void push_entry(const PushQueue::Entry& entry);
  /// True if the key file is missing, or others may read it: no push can succeed.
  [[nodiscard]] bool lacks_key() const;
  Result<PushReport> push_counted(PushOptions& options);
  void add_event(const std::string& name, const Result<PushReport>& report, std::uint32_t attempts);
  /// True if a failed push of `entry` is to be dropped: the snapshot is not there any more.
  [[nodiscard]] bool is_gone(const PushQueue::Entry& entry) const;

  const std::string store_;
  const PushSettings settings_;
  Metrics& metrics_;
  Events& events_;
  std::atomic<bool> is_stopping_ = false;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  PushQueue queue_;
  /// As UnpushedOptions::bucket_id. It stays while the bucket does not answer.
  std::optional<Uuid> bucket_id_;
  bool is_id_due_ = false;  ///< a thread is to read it
  bool is_reading_id_ = false;
  bool failed_without_key_ = false;  ///< since the last look(); entries wait for the key file
  std::mt19937_64 random_{std::random_device()()};
  std::size_t running_threads_ = 0;
  std::vector<std::thread> threads_;
};

}  // namespace lamina::daemon
