#include "daemon/signals.h"

#include <signal.h>

#include <array>
#include <atomic>
#include <cerrno>

#include "base/error.h"
#include "os/own_process.h"

namespace lamina::daemon {
namespace {

// What handlers can reach is global.
os::Event event;
std::atomic<bool> stop_asked = false;
std::atomic<bool> hangup_asked = false;
static_assert(std::atomic<bool>::is_always_lock_free);

void note(int number) {
  const int saved = errno;
  (number == SIGHUP ? hangup_asked : stop_asked) = true;
  event.signal();
  errno = saved;
}

}  // namespace

Status Signals::handle() {
  LAMINA_ASSIGN_OR_RETURN(event, os::Event::create("signals"));
  struct sigaction action{};
  action.sa_handler = note;
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
bool Signals::asked_to_stop() { return stop_asked; }
bool Signals::take_hangup() { return hangup_asked.exchange(false); }

}  // namespace lamina::daemon
