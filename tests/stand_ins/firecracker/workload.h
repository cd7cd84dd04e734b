// What the guest does by itself: threads that use its memory at random while it runs.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include "stand_ins/firecracker/guest.h"

namespace lamina::tests {

/// A barrier between operations: whoever uses the guest passes it, pausing closes it.
class RunGate {
 public:
  void open();
  /// Returns when nobody is inside; nobody gets in until open().
  void close();
  /// Waits until the gate is open.
  void enter();
  /// False when it is closed.
  bool try_enter();
  void leave();

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_open_ = false;
  std::size_t inside_ = 0;
};

/// The guest's random numbers. All threads draw from one sequence, which a snapshot keeps.
class GuestRandom {
 public:
  explicit GuestRandom(std::uint64_t state) : state_(state) {}
  std::uint64_t next();
  /// Never 0, which stands for zeros.
  std::uint64_t next_seed() { return next() | 1; }
  [[nodiscard]] std::uint64_t state() const { return state_; }
  void set(std::uint64_t state) { state_ = state; }

 private:
  std::atomic<std::uint64_t> state_;
};

/// Which of the pages a thread uses: chunk `index` of every `of` chunks.
struct Share {
  std::size_t index = 0;
  std::size_t of = 1;
};

/// One random operation on the pages of `share`: writes, clears, reads, and with `balloon` gives a
/// run of pages back.
void operate(Guest& guest, GuestRandom& random, Share share, bool balloon);

/// Threads that operate() without end while the gate is open. They are detached: the process ends
/// by _exit. REQUIRES: `guest`, `random` and `gate` outlive the process.
void start_writers(std::size_t threads, Guest& guest, GuestRandom& random, RunGate& gate,
                   bool balloon);

}  // namespace lamina::tests
