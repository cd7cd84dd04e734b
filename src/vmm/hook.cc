#include "vmm/hook.h"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.h"
#include "sys/process.h"
#include "sys/spawn.h"

namespace lamina::vmm {
namespace {

bool ended_within(pid_t child, std::chrono::milliseconds timeout) {
  const auto pidfd = sys::open_process(child);
  if (!pidfd) return true;  // waited for without a limit
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  while (true) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) return false;
    pollfd end{pidfd->get(), POLLIN, 0};
    if (::poll(&end, 1, static_cast<int>(left.count())) > 0) return true;
  }
}

}  // namespace

Status run_hook(const std::string& command,
                const std::vector<std::pair<std::string, std::string>>& variables,
                std::chrono::milliseconds timeout) {
  LAMINA_ASSIGN_OR_RETURN(const pid_t child, sys::spawn({{"/bin/sh", "-c", command},
                                                         variables,
                                                         STDERR_FILENO,
                                                         STDERR_FILENO,
                                                         sys::Company::kOwnGroup}));
  const bool in_time = ended_within(child, timeout);
  if (!in_time) ::kill(-child, SIGKILL);
  int state = 0;
  while (::waitpid(child, &state, 0) < 0) {
    if (errno != EINTR) return system_failure("waitpid", command, errno);
  }
  if (!in_time) {
    return fail(ErrorKind::kFailed, "the hook '{}' took more than {} ms and was killed", command,
                timeout.count());
  }
  if (WIFEXITED(state) && WEXITSTATUS(state) == 0) return {};
  return fail(ErrorKind::kFailed, "the hook '{}' {} {}", command,
              WIFEXITED(state) ? "ended with" : "was ended by signal",
              WIFEXITED(state) ? WEXITSTATUS(state) : WTERMSIG(state));
}

}  // namespace lamina::vmm
