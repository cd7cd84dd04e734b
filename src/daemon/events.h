// The daemon's operations on the store, for clients that follow them (GET /v1/events).
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <utility>

#include "base/mutex.h"
#include "daemon/event_numbers.h"
#include "daemon/log.h"

namespace lamina::daemon {

/// The most recent events, each a JSON object with a sequence number. Thread-safe.
class Events {
 public:
  /// Keeps the last `limit` events.
  Events(std::size_t limit, EventNumbers numbers) : limit_(limit), numbers_(std::move(numbers)) {}

  /// Adds {"sequence", "time", "event", …fields}, and logs it.
  void add(Level level, std::string_view event, const Json& fields);

  /// The kept events with a number above `after`, oldest first, one per line.
  [[nodiscard]] std::string lines_after(std::uint64_t after) const;

 private:
  struct Event {
    std::uint64_t sequence = 0;
    std::string line;
  };

  const std::size_t limit_;
  mutable Mutex mutex_;
  EventNumbers numbers_ LAMINA_GUARDED_BY(mutex_);
  std::deque<Event> events_ LAMINA_GUARDED_BY(mutex_);
};

}  // namespace lamina::daemon
