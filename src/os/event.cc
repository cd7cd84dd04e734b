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
  // EAGAIN: it is full of signals. No other failure is known to last, and one that is taken for
  // good leaves somebody waiting for ever.
  constexpr int kAttempts = 16;
  const std::uint64_t one = 1;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    if (::write(fd_.get(), &one, sizeof(one)) == sizeof(one) || errno == EAGAIN) return;
  }
}

void Event::clear() const {
  std::uint64_t count = 0;
  static_cast<void>(::read(fd_.get(), &count, sizeof(count)) ==
                    0);  // fails only when there is none
}

}  // namespace lamina::os
