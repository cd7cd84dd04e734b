#include "sys/process.h"

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "base/error.h"

namespace lamina::sys {

Result<Fd> open_process(pid_t pid) {
  Fd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd.valid()) return system_failure("pidfd_open", std::to_string(pid), errno);
  return pidfd;
}

bool may_signal(int pidfd) { return ::syscall(SYS_pidfd_send_signal, pidfd, 0, nullptr, 0) == 0; }

Status kill_process(int pidfd) {
  if (::syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, nullptr, 0) == 0 || errno == ESRCH) {
    return {};
  }
  return system_failure("kill", "peer process", errno);
}

}  // namespace lamina::sys
