#include "sys/lock.h"

#include <sys/file.h>

#include <cerrno>

#include "base/error.h"

namespace lamina::sys {

Result<bool> try_lock(int fd, const std::string& object) {
  while (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    if (errno == EWOULDBLOCK) return false;
    return system_failure("lock", object, errno);
  }
  return true;
}

Result<bool> is_locked(int fd, const std::string& object) {
  while (::flock(fd, LOCK_SH | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    if (errno == EWOULDBLOCK) return true;
    return system_failure("lock", object, errno);
  }
  static_cast<void>(::flock(fd, LOCK_UN));
  return false;
}

Status wait_for_lock(int fd, const std::string& object) {
  while (::flock(fd, LOCK_EX) != 0) {
    if (errno != EINTR) return system_failure("lock", object, errno);
  }
  return {};
}

Status wait_for_shared_lock(int fd, const std::string& object) {
  while (::flock(fd, LOCK_SH) != 0) {
    if (errno != EINTR) return system_failure("lock", object, errno);
  }
  return {};
}

void unlock(int fd) { static_cast<void>(::flock(fd, LOCK_UN)); }

}  // namespace lamina::sys
