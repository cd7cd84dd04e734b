// A mutex that clang's thread-safety analysis understands: a field that is declared
// LAMINA_GUARDED_BY(mutex_) can only be used while it is held. Other compilers see a plain mutex.
#pragma once

#include <mutex>

#if defined(__clang__)
#define LAMINA_THREAD_ANNOTATION(x) __attribute__((x))
#else
#define LAMINA_THREAD_ANNOTATION(x)
#endif

#define LAMINA_GUARDED_BY(mutex) LAMINA_THREAD_ANNOTATION(guarded_by(mutex))

namespace lamina {

class LAMINA_THREAD_ANNOTATION(capability("mutex")) Mutex {
 public:
  void lock() LAMINA_THREAD_ANNOTATION(acquire_capability()) { mutex_.lock(); }
  void unlock() LAMINA_THREAD_ANNOTATION(release_capability()) { mutex_.unlock(); }

 private:
  std::mutex mutex_;
};

/// Holds a Mutex for the lifetime of this object.
class LAMINA_THREAD_ANNOTATION(scoped_lockable) MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) LAMINA_THREAD_ANNOTATION(acquire_capability(mutex))
      : mutex_(mutex) {
    mutex_.lock();
  }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;
  MutexLock(MutexLock&&) = delete;
  MutexLock& operator=(MutexLock&&) = delete;
  ~MutexLock() LAMINA_THREAD_ANNOTATION(release_capability()) { mutex_.unlock(); }

 private:
  Mutex& mutex_;
};

}  // namespace lamina
