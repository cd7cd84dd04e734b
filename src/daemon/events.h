// What has happened in the store by this daemon's hand, for those who want to follow it.
#pragma once

#include <cstdint>
#include <deque>
#include <string>

#include "base/mutex.h"
#include "daemon/log.h"

namespace lamina::daemon {

/// The last events, each a JSON object with a sequence number. Thread-safe.
class Events {
 public:
  /// Keeps the last `limit`. Numbers begin at `first` and grow by one: with the time of the start
  /// in milliseconds they also grow across restarts.
  Events(std::size_t limit, std::uint64_t first) : limit_(limit), next_(first) {}

  /// Adds {"sequence", "time", "event", …fields}, and logs it.
  void add(Level level, std::string_view event, const Json& fields);

  /// The kept events with a number above `after`, oldest first, one on each line.
  [[nodiscard]] std::string lines_after(std::uint64_t after) const;

 private:
  struct Event {
    std::uint64_t sequence = 0;
    std::string line;
  };

  const std::size_t limit_;
  mutable Mutex mutex_;
  std::uint64_t next_ LAMINA_GUARDED_BY(mutex_);
  std::deque<Event> events_ LAMINA_GUARDED_BY(mutex_);
};

}  // namespace lamina::daemon
