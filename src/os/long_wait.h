// Waiting for another process: a VMM, a hook, a page server. It needs neither processor nor disk,
// and may take as long as the other likes. Whoever shares out threads wants to know.
#pragma once

namespace lamina::os {

/// Told when a thread begins and ends such a wait, by that thread. Must not throw, nor wait.
class WaitObserver {
 public:
  WaitObserver() = default;
  WaitObserver(const WaitObserver&) = delete;
  WaitObserver& operator=(const WaitObserver&) = delete;
  WaitObserver(WaitObserver&&) = delete;
  WaitObserver& operator=(WaitObserver&&) = delete;
  virtual ~WaitObserver() = default;

  virtual void wait_begins() = 0;
  virtual void wait_ends() = 0;
};

/// The observer of this thread; null: nobody. Returns the former one.
WaitObserver* observe_waits(WaitObserver* observer);

/// This thread waits while this exists. They may be nested: the outermost one counts.
class LongWait {
 public:
  LongWait();
  LongWait(const LongWait&) = delete;
  LongWait& operator=(const LongWait&) = delete;
  LongWait(LongWait&&) = delete;
  LongWait& operator=(LongWait&&) = delete;
  ~LongWait();
};

}  // namespace lamina::os
