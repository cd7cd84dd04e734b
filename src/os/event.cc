#include "os/event.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "base/error.h"

namespace lamina::os {

Result<Event> Event::create(const std::string& object) {
  Event event;
  event.fd_ = Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!event.fd_.valid()) return system_failure("eventfd", object, errno);
  return event;
}

void Event::signal() const {
  // EAGAIN: the counter is full, so the event is signalled. Other errors are retried, because a
  // lost signal would leave a thread waiting forever.
  constexpr int kAttempts = 16;
  const std::uint64_t one = 1;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    if (::write(fd_.get(), &one, sizeof(one)) == sizeof(one) || errno == EAGAIN) return;
  }
}

void Event::clear() const {
  std::uint64_t count = 0;
  // Fails only if there is no signal.
  static_cast<void>(::read(fd_.get(), &count, sizeof(count)) == 0);
}

}  // namespace lamina::os
