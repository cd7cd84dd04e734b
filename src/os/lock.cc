#include "os/lock.h"

#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cerrno>
#include <chrono>
#include <fstream>

#include "base/error.h"

namespace lamina::os {
namespace {

constexpr int kFirstPauseMs = 2;
constexpr int kLaterPauseMs = 50;

}  // namespace

std::string lock_holder(int fd) {
  const std::string unknown = "another process";
  struct stat facts{};
  if (::fstat(fd, &facts) != 0) return unknown;
  const std::string file =
      fmt::format(" {:02x}:{:02x}:{} ", major(facts.st_dev), minor(facts.st_dev), facts.st_ino);
  std::ifstream locks("/proc/locks");
  for (std::string line; std::getline(locks, line);) {
    // "5: FLOCK  ADVISORY  WRITE 17 08:01:42 0 EOF"; waiting processes have "->" in front.
    const std::size_t end = line.find(file);
    if (end == std::string::npos || line.find("FLOCK") == std::string::npos ||
        line.find("->") != std::string::npos) {
      continue;
    }
    const std::size_t start = line.rfind(' ', end - 1);
    const std::string pid = line.substr(start + 1, end - start - 1);
    // 0 and -1: a process of another pid namespace.
    if (!pid.empty() && pid.front() >= '1' && pid.front() <= '9') return "process " + pid;
  }
  return unknown;
}

namespace {

/// `kind` is LOCK_EX or LOCK_SH. False: others hold what is in its way.
Result<bool> try_lock_as(int kind, int fd, const std::string& object) {
  while (::flock(fd, kind | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    if (errno == EWOULDBLOCK) return false;
    return system_failure("lock", object, errno);
  }
  return true;
}

Status wait_for_lock_as(int kind, int fd, const std::string& object,
                        std::chrono::milliseconds longest) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point start = Clock::now();
  while (true) {
    LAMINA_ASSIGN_OR_RETURN(const bool locked, try_lock_as(kind, fd, object));
    if (locked) return {};
    const auto waited = Clock::now() - start;
    if (waited >= longest) {
      return fail(ErrorKind::kBusy, "lock '{}': {} has held it for more than {} s", object,
                  lock_holder(fd), std::chrono::floor<std::chrono::seconds>(longest).count());
    }
    // flock(2) has no timeout. Most locks are held for a moment.
    const bool is_long = waited > std::chrono::seconds(1);
    ::poll(nullptr, 0, is_long ? kLaterPauseMs : kFirstPauseMs);
  }
}

}  // namespace

Result<bool> try_lock(int fd, const std::string& object) {
  return try_lock_as(LOCK_EX, fd, object);
}

Result<bool> is_locked(int fd, const std::string& object) {
  LAMINA_ASSIGN_OR_RETURN(const bool locked, try_lock_as(LOCK_SH, fd, object));
  if (locked) unlock(fd);
  return !locked;
}

Status wait_for_lock(int fd, const std::string& object, std::chrono::milliseconds longest) {
  return wait_for_lock_as(LOCK_EX, fd, object, longest);
}

Status wait_for_shared_lock(int fd, const std::string& object, std::chrono::milliseconds longest) {
  return wait_for_lock_as(LOCK_SH, fd, object, longest);
}

void unlock(int fd) { static_cast<void>(::flock(fd, LOCK_UN)); }

}  // namespace lamina::os
