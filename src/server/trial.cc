#include "server/trial.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/error.h"
#include "os/process.h"

namespace lamina::server {
namespace {

/// It opens every snapshot that is served.
constexpr std::chrono::seconds kLongest{120};
constexpr int kExitNotExecuted = 127;

}  // namespace

Trial::~Trial() { end(); }

void Trial::end() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
  forget();
}

void Trial::forget() {
  pid_ = -1;
  pidfd_.reset();
}

Status Trial::begin(const std::vector<std::string>& command, const HandoverState& handover) {
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child < 0) return system_failure("fork", command.front(), errno);
  if (child == 0) {
    // It holds what must go when the parent does: locks and sockets.
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() == parent) {
      static_cast<void>(exec_successor(command, handover, Purpose::kTry));
    }
    ::_exit(kExitNotExecuted);
  }
  pid_ = child;
  program_ = command.front();
  auto pidfd = os::open_process(child);
  if (!pidfd) {
    end();
    return std::unexpected(pidfd.error());
  }
  pidfd_ = std::move(*pidfd);
  deadline_ = Clock::now() + kLongest;
  return {};
}

int Trial::due_ms() const {
  if (pid_ <= 0) return -1;
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline_ - Clock::now());
  return static_cast<int>(std::max<std::int64_t>(left.count(), 0)) + 1;
}

std::optional<Status> Trial::take_outcome() {
  if (pid_ <= 0) return std::nullopt;
  if (!os::has_ended(pidfd_.get())) {
    if (Clock::now() < deadline_) return std::nullopt;
    end();
    return fail(ErrorKind::kFailed, "'{}' was not ready within {} s", program_, kLongest.count());
  }
  int status = -1;
  ::waitpid(pid_, &status, 0);
  forget();
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return Status();
  if (WIFEXITED(status) && WEXITSTATUS(status) == kExitNotExecuted) {
    return fail(ErrorKind::kFailed, "'{}' cannot be executed, or not with its libraries", program_);
  }
  return fail(ErrorKind::kFailed, "'{}' does not start (status {:#x})", program_,
              static_cast<unsigned>(status));
}

}  // namespace lamina::server
