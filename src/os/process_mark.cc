#include "os/process_mark.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <initializer_list>
#include <string>
#include <string_view>

#include "base/error.h"
#include "os/directory.h"
#include "os/fd.h"
#include "os/lock.h"
#include "os/proc_file.h"

namespace lamina::os {
namespace {

/// The file system of pidfds, which gives each process its own inode (PID_FS_MAGIC, Linux 6.9).
constexpr long kPidFileSystem = 0x50494446;

/// 0, or an errno.
int exchange_limit(pid_t pid, const rlimit* fresh, rlimit& before) {
  return ::prlimit(pid, RLIMIT_LOCKS, fresh, &before) == 0 ? 0 : errno;
}

struct Owner {
  uid_t uid = 0;
  gid_t gid = 0;
};

/// The owner of a process; nullopt if it has several users or groups, or cannot be examined.
std::optional<Owner> owner_of(pid_t pid) {
  const auto status = read_proc_file(fmt::format("/proc/{}/status", pid));
  if (!status) return std::nullopt;
  const auto only = [&](const char* name) -> std::optional<std::int64_t> {
    std::string_view numbers = proc_value(*status, name);
    const auto real = take_number(numbers);
    if (real != take_number(numbers) || real != take_number(numbers)) return std::nullopt;
    return real;
  };
  const auto uid = only("Uid:");
  const auto gid = only("Gid:");
  if (!uid || !gid) return std::nullopt;
  return Owner{static_cast<uid_t>(*uid), static_cast<gid_t>(*gid)};
}

/// exchange_limit() in a child that has switched to the owner of the process, for a root without
/// CAP_SYS_RESOURCE. The owner can tamper with the child, so its reply is short and has a timeout.
int exchange_limit_as_owner(pid_t pid, const rlimit& fresh, rlimit& before) {
  constexpr int kWaitMs = 5000;
  const auto owner = owner_of(pid);
  std::array<int, 2> ends{};
  if (!owner || ::pipe2(ends.data(), O_CLOEXEC) != 0) return EPERM;
  const Fd reading(ends[0]);
  Fd writing(ends[1]);
  struct Answer {
    int error;
    rlimit before;
  } answer{};
  const pid_t child = ::fork();
  if (child < 0) return errno;
  if (child == 0) {
    // Only system calls from here on: other threads may have held any lock.
    const bool is_owner = ::syscall(SYS_setresgid, owner->gid, owner->gid, owner->gid) == 0 &&
                          ::syscall(SYS_setresuid, owner->uid, owner->uid, owner->uid) == 0;
    answer.error = is_owner ? exchange_limit(pid, &fresh, answer.before) : errno;
    static_cast<void>(::write(writing.get(), &answer, sizeof answer) == sizeof answer);
    ::_exit(0);
  }
  writing.reset();
  pollfd readable{reading.get(), POLLIN, 0};
  const bool answered = ::poll(&readable, 1, kWaitMs) == 1 &&
                        ::read(reading.get(), &answer, sizeof answer) == sizeof answer;
  ::kill(child, SIGKILL);
  while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
  if (!answered) return EPERM;
  before = answer.before;
  return answer.error;
}

std::optional<std::uint64_t> mark_in(std::uint64_t limit) {
  return (limit >> 62U) == 1 ? std::optional(limit) : std::nullopt;
}

enum class LockHolder { kNotSeen, kOneOfThem, kStranger };

/// Who holds the lock of the file behind `fd`, according to /proc/locks ("1: FLOCK  ADVISORY  WRITE
/// 4711 00:0e:123 0 EOF"). kNotSeen: it was released meanwhile, its holder is ending, or lives in a
/// pid namespace that cannot be seen from here.
LockHolder holder_of_lock(int fd, std::initializer_list<uid_t> users) {
  struct stat file{};
  const auto locks = read_proc_file("/proc/locks");
  if (!locks || ::fstat(fd, &file) != 0) return LockHolder::kNotSeen;
  const std::string name =
      fmt::format(" {:02x}:{:02x}:{} ", major(file.st_dev), minor(file.st_dev), file.st_ino);
  LockHolder holder = LockHolder::kNotSeen;
  for (std::string_view rest = *locks; !rest.empty();) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    const std::size_t at = line.find(name);
    if (at == std::string_view::npos) continue;
    std::string_view pid = line.substr(0, at);
    pid.remove_prefix(pid.rfind(' ') + 1);
    const std::string status =
        read_proc_file(fmt::format("/proc/{}/status", pid)).value_or(std::string());
    std::string_view numbers = proc_value(status, "Uid:");
    take_number(numbers);
    const auto user = take_number(numbers);  // the effective user
    if (!user) continue;
    if (std::find(users.begin(), users.end(), *user) != users.end()) return LockHolder::kOneOfThem;
    holder = LockHolder::kStranger;
  }
  return holder;
}

}  // namespace

Result<std::optional<std::uint64_t>> process_mark(pid_t pid) {
  // Any user may read it there; prlimit(2) needs the same permission as for a change.
  const std::string path = fmt::format("/proc/{}/limits", pid);
  const std::string text = read_proc_file(path).value_or(std::string());
  std::string_view numbers = proc_value(text, "Max file locks");
  if (numbers.empty()) {
    if (!name_exists(AT_FDCWD, path) && name_exists(AT_FDCWD, "/proc/self/limits")) {
      return fail(ErrorKind::kNotFound, "process {} has ended", pid);
    }
    return fail(ErrorKind::kFailed, "'{}' cannot be read", path);
  }
  const auto limit = take_number(numbers);
  if (!limit) return std::nullopt;  // "unlimited"
  return mark_in(static_cast<std::uint64_t>(*limit));
}

Result<std::optional<std::uint64_t>> exchange_process_mark(pid_t pid, std::uint64_t mark) {
  // Raising an unusually low hard limit needs CAP_SYS_RESOURCE.
  const rlimit fresh{mark, RLIM_INFINITY};
  rlimit before{};
  int error = exchange_limit(pid, &fresh, before);
  if (error == EPERM) error = exchange_limit_as_owner(pid, fresh, before);
  if (error == ESRCH) return fail(ErrorKind::kNotFound, "process {} has ended", pid);
  if (error != 0) return system_failure("prlimit", std::to_string(pid), error);
  return mark_in(before.rlim_cur);
}

Result<bool> try_lock_process(int pidfd, uid_t owner) {
  struct statfs system{};
  if (::fstatfs(pidfd, &system) != 0) return system_failure("statfs", "process", errno);
  if (system.f_type != kPidFileSystem) return true;
  LAMINA_ASSIGN_OR_RETURN(const bool locked, try_lock(pidfd, "process"));
  // A holder that is not seen may be a lamina that has just ended, and another may be next.
  return locked || holder_of_lock(pidfd, {0, ::geteuid(), owner}) == LockHolder::kStranger;
}

}  // namespace lamina::os
