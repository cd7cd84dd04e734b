#include "daemon/listener.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "base/contain.h"
#include "daemon/api.h"
#include "daemon/messages.h"
#include "os/unix_socket.h"

namespace lamina::daemon {
namespace {

/// Accepted at once, so that one listener does not delay the others.
constexpr int kMaxAccepted = 64;

/// The peer gets no response if memory is short.
void refuse_user(const os::Fd& connection) noexcept {
  constexpr unsigned kForbidden = 403;
  static_cast<void>(contain("refusal", [&]() -> Status {
    http::send_refusal(connection,
                       refusal(kForbidden, "this user may not connect; see --allow-uid"));
    return {};
  }));
}

}  // namespace

Result<Listener> Listener::open(const std::string& path, std::uint32_t mode, std::size_t number) {
  auto fd = os::listen_at(path, {mode, ""});
  if (!fd) return std::unexpected(fd.error());
  return Listener(path, std::move(*fd), number);
}

Listener::~Listener() {
  if (socket_.valid()) close();
}

void Listener::close() {
  if (is_closed_) return;
  is_closed_ = true;
  ::unlink(path_.c_str());
  ::shutdown(socket_.fd(), SHUT_RD);
}

bool Listener::is_allowed(const os::Peer& peer, const std::vector<std::uint32_t>& users) const {
  if (number_ == kMetricsListener) return true;
  return peer.uid == 0 || peer.uid == ::geteuid() ||
         std::find(users.begin(), users.end(), peer.uid) != users.end();
}

bool Listener::accept(http::ServerThread& server, const std::vector<std::uint32_t>& users) {
  for (int i = 0; i < kMaxAccepted; ++i) {
    auto connection = socket_.accept(path_);
    if (!connection || !*connection) return false;
    const auto peer = os::peer_of((*connection)->get());
    if (peer && is_allowed(*peer, users)) {
      server.add(std::move(**connection), number_, peer->uid);
    } else {
      refuse_user(**connection);
    }
  }
  return true;
}

}  // namespace lamina::daemon
