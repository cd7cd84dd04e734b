// The states that wait to be pushed to a bucket, by the names of their snapshots.
//
// A name has one entry at most, for its latest state: an older one that waits is replaced, and is
// not pushed. The queue is in memory. It is derived from the store, which knows what was pushed
// (list_unpushed()), so nothing is lost with it (docs/decisions/0037).
//
// An entry waits, is being pushed, or has failed for good: then it stays, to be seen, until the
// name has another state or somebody else has pushed it. The queue does no I/O and reads no clock.
// Not thread-safe.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lamina/result.h"
#include "lamina/uuid.h"
#include "lamina/words.h"

namespace lamina::daemon {

enum class PushState : std::uint8_t { kWaiting, kPushing, kFailed };

class PushQueue {
 public:
  using Clock = std::chrono::steady_clock;
  using TimePoint = Clock::time_point;

  struct Entry {
    std::string name;
    Uuid pause_id;
    PushState state = PushState::kWaiting;
    TimePoint since;             ///< since when the name has a state that was not pushed
    std::uint32_t attempts = 0;  ///< that failed, in a row
    TimePoint next_attempt;
    std::optional<Error> error;  ///< of the last attempt
  };

  /// A state of the store.
  struct Found {
    std::string name;
    Uuid pause_id;
    TimePoint since;  ///< when the pause was
  };

  /// What to do after a failure.
  enum class Retry : std::uint8_t { kLater, kNever };

  /// `longest_delay`: between two attempts.
  explicit PushQueue(std::chrono::milliseconds longest_delay) : longest_delay_(longest_delay) {}

  /// The latest state of `name` is that of `pause_id`, and is not in the bucket.
  void add(const std::string& name, const Uuid& pause_id, TimePoint now) {
    add({name, pause_id, now}, now);
  }

  /// The snapshot was removed. A push that runs goes on.
  void remove(const std::string& name);

  /// All states of the store that the bucket does not have, read at `read` or later. Entries that
  /// are older than that and not in the list go: their snapshots were removed, renamed, or pushed
  /// by somebody else.
  void update(const std::vector<Found>& states, TimePoint read);

  /// Takes the entry that has waited longest, of those whose time has come. The caller ends it with
  /// done(), drop() or failed().
  std::optional<Entry> take(TimePoint now);

  /// When take() will have an entry; nullopt: not before the queue is changed.
  [[nodiscard]] std::optional<TimePoint> next_time() const;

  /// The push of `taken` has pushed the state of `pushed`, which may be newer.
  void done(const Entry& taken, const Uuid& pushed, TimePoint now);
  /// `taken` has no snapshot any more.
  void drop(const Entry& taken, TimePoint now) { done(taken, taken.pause_id, now); }
  /// The push of `taken` failed. The delay before the next attempt doubles with each failure; a
  /// `random` part of it, up to a half, is left out.
  void failed(const Entry& taken, const Error& error, Retry retry, TimePoint now, double random);

  /// What made pushes fail for good has been mended: those entries wait again.
  void retry_failed(TimePoint now);

  /// Somebody else has pushed that state of `name`.
  void pushed(const std::string& name, const Uuid& pause_id, TimePoint now);

  /// In the order of their age.
  [[nodiscard]] std::vector<Entry> entries() const;
  /// Entries that wait or are being pushed.
  [[nodiscard]] std::size_t waiting() const;
  [[nodiscard]] std::size_t failed_entries() const { return entries_.size() - waiting(); }
  /// The age of the oldest entry; 0: there is none.
  [[nodiscard]] Clock::duration oldest_age(TimePoint now) const;

 private:
  void add(const Found& state, TimePoint now);

  struct Kept {
    Entry entry;
    TimePoint added;                   ///< when this state was added
    std::optional<TimePoint> newer{};  ///< since when there is a newer state than the one pushed
    bool is_gone = false;              ///< removed while it is pushed
  };
  struct Pushed {
    Uuid pause_id;
    TimePoint when;
  };

  const std::chrono::milliseconds longest_delay_;
  std::map<std::string, Kept> entries_;
  /// By name, since the last update(): the next list may have been read before.
  std::map<std::string, Pushed> pushed_;
};

}  // namespace lamina::daemon

namespace lamina {

template <>
inline constexpr std::array kWords<daemon::PushState> = {
    Word<daemon::PushState>{"waiting", daemon::PushState::kWaiting},
    Word<daemon::PushState>{"pushing", daemon::PushState::kPushing},
    Word<daemon::PushState>{"failed", daemon::PushState::kFailed}};

}  // namespace lamina
