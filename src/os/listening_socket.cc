#include "os/listening_socket.h"

#include "base/contain.h"
#include "os/unix_socket.h"

namespace lamina::os {

Result<std::optional<Fd>> ListeningSocket::accept(const std::string& path) noexcept {
  auto connection = contain("accept", [&] { return accept_connection(fd(), path); });
  if (!connection) back_off_end_ = Clock::now() + kBackOff;
  return connection;
}

int ListeningSocket::expire() {
  if (!back_off_end_) return -1;
  const auto left =
      std::chrono::duration_cast<std::chrono::milliseconds>(*back_off_end_ - Clock::now()).count();
  if (left > 0) return static_cast<int>(left) + 1;
  back_off_end_.reset();
  return 0;
}

}  // namespace lamina::os
