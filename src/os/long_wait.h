// Marks code that waits for another process (a VMM, a hook, a page server). Such a wait uses
// neither CPU nor disk and may take arbitrarily long; a thread pool can start another thread
// meanwhile.
#pragma once

namespace lamina::os {

/// Called by a thread when it begins and ends such a wait. Must not throw or block.
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

/// Sets the observer of this thread (null: none) and returns the previous one.
WaitObserver* observe_waits(WaitObserver* observer);

/// Marks this thread as waiting for the lifetime of this object. Nested objects count as one.
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
