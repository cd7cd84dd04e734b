#pragma once

#include <chrono>
#include <string>
#include <utility>

#include "lamina/result.h"
#include "os/fd.h"

namespace lamina::os {

/// Takes an exclusive flock(2) on `fd` without waiting. False if it is held elsewhere. The lock is
/// released with the last descriptor of this open file description, also if the process is killed.
Result<bool> try_lock(int fd, const std::string& object);

/// True if another open file description holds the lock of `fd`'s file. Takes a shared lock for a
/// moment, so a try_lock() elsewhere may fail meanwhile.
Result<bool> is_locked(int fd, const std::string& object);

/// The holder of the lock of `fd`'s file according to /proc/locks, for messages: "process 17", or
/// "another process" if that is not known (another pid namespace, btrfs).
std::string lock_holder(int fd);

/// No live holder keeps a lock that long.
inline constexpr std::chrono::minutes kLongestLockWait{10};

/// Like try_lock(), but waits while the lock is held elsewhere: kBusy after `longest`, naming the
/// holder.
Status wait_for_lock(int fd, const std::string& object,
                     std::chrono::milliseconds longest = kLongestLockWait);

/// The same for a shared lock: waits while an exclusive lock is held elsewhere.
Status wait_for_shared_lock(int fd, const std::string& object,
                            std::chrono::milliseconds longest = kLongestLockWait);

/// Releases the lock of this open file description, if it has one.
void unlock(int fd);

/// Owns a descriptor that is or may become locked. The destructor releases the lock before it
/// closes the descriptor: closing alone does not, while a child that the program has forked has a
/// copy.
class LockedFd {
 public:
  LockedFd() = default;
  explicit LockedFd(Fd fd) : fd_(std::move(fd)) {}
  LockedFd(LockedFd&&) noexcept = default;
  LockedFd& operator=(LockedFd&& other) noexcept {
    if (this != &other) {
      release_lock();
      fd_ = std::move(other.fd_);
    }
    return *this;
  }
  LockedFd(const LockedFd&) = delete;
  LockedFd& operator=(const LockedFd&) = delete;
  ~LockedFd() { release_lock(); }

  [[nodiscard]] int get() const { return fd_.get(); }
  [[nodiscard]] bool valid() const { return fd_.valid(); }

 private:
  void release_lock() const {
    if (fd_.valid()) unlock(fd_.get());
  }

  Fd fd_;
};

}  // namespace lamina::os
