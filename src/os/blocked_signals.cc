#include "os/blocked_signals.h"

#include <initializer_list>

namespace lamina::os {

BlockedSignals::BlockedSignals(Which which) {
  sigset_t blocked{};
  sigfillset(&blocked);
  if (which == Which::kSent) {
    for (const int number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS, SIGPROF}) {
      sigdelset(&blocked, number);
    }
  }
  ::pthread_sigmask(SIG_BLOCK, &blocked, &before_);
}

BlockedSignals::~BlockedSignals() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

}  // namespace lamina::os
