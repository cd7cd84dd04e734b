#include "daemon/signals.h"

#include <signal.h>

#include <array>
#include <atomic>
#include <cerrno>

#include "base/error.h"
#include "os/own_process.h"

namespace lamina::daemon {
namespace {

// Signal handlers can only use globals.
os::Event event;
std::atomic<bool> is_stop_requested = false;
std::atomic<bool> has_hangup = false;
static_assert(std::atomic<bool>::is_always_lock_free);

void record_signal(int number) {
  const int saved = errno;
  (number == SIGHUP ? has_hangup : is_stop_requested) = true;
  event.signal();
  errno = saved;
}

}  // namespace

Status Signals::handle() {
  LAMINA_ASSIGN_OR_RETURN(event, os::Event::create("signals"));
  struct sigaction action{};
  action.sa_handler = record_signal;
  action.sa_flags = SA_RESTART;
  for (const int number : std::array{SIGTERM, SIGINT, SIGHUP}) {
    if (::sigaction(number, &action, nullptr) != 0) {
      return system_failure("sigaction", "signals", errno);
    }
  }
  os::unblock_signals();
  return {};
}

int Signals::fd() { return event.fd(); }
void Signals::clear() { event.clear(); }
bool Signals::stop_requested() { return is_stop_requested; }
bool Signals::take_hangup() { return has_hangup.exchange(false); }

}  // namespace lamina::daemon
