#include "server/supervisor_signals.h"

#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.h"

namespace lamina::server {

Status SupervisorSignals::block() {
  sigset_t signals{};
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, signal);
  if (::sigprocmask(SIG_BLOCK, &signals, nullptr) != 0) {
    return system_failure("sigprocmask", "signals", errno);
  }
  fd_ = os::Fd(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd_.valid()) return system_failure("signalfd", "signals", errno);
  return {};
}

void SupervisorSignals::read(const std::function<void(int)>& handle) const {
  signalfd_siginfo signal{};
  while (::read(fd_.get(), &signal, sizeof(signal)) == sizeof(signal)) {
    handle(static_cast<int>(signal.ssi_signo));
  }
}

}  // namespace lamina::server
