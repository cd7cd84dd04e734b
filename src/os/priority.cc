#include "os/priority.h"

#include <linux/ioprio.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.h"

namespace lamina::os {
namespace {

constexpr int kLowestPriority = 19;

}  // namespace

Status become_background_thread() {
  // 0 is the calling thread for both. setpriority(2) is about the process by POSIX, but about the
  // thread in Linux.
  if (::setpriority(PRIO_PROCESS, 0, kLowestPriority) != 0) {
    return system_failure("setpriority", "this thread", errno);
  }
  const int idle = IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 0);
  if (::syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, idle) != 0) {
    return system_failure("ioprio_set", "this thread", errno);
  }
  return {};
}

}  // namespace lamina::os
