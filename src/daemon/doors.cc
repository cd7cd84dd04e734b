#include "daemon/doors.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "daemon/api.h"
#include "os/peer.h"
#include "os/unix_socket.h"

namespace lamina::daemon {
namespace {

/// Connections taken at once, before others are looked at.
constexpr int kMaxAccepted = 64;

/// So long nobody is accepted after accepting has failed.
constexpr std::chrono::milliseconds kPause{100};

void refuse(const os::Fd& connection) {
  const Response response = refusal(403, "this user may not connect; see --allow-uid");
  const std::string text = fmt::format(
      "HTTP/1.1 403 Forbidden\r\nContent-Type: {}\r\nContent-Length: {}\r\n"
      "Connection: close\r\n\r\n{}",
      response.content_type, response.body.size(), response.body);
  static_cast<void>(
      ::send(connection.get(), text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT));
}

}  // namespace

Result<ListeningSocket> ListeningSocket::open(const std::string& path, std::uint32_t mode,
                                              Door door) {
  auto fd = os::listen_at(path, {mode, ""});
  if (!fd) return std::unexpected(fd.error());
  return ListeningSocket(path, std::move(*fd), door);
}

ListeningSocket::~ListeningSocket() {
  if (fd_.valid()) close();
}

void ListeningSocket::close() {
  if (is_closed_) return;
  is_closed_ = true;
  ::unlink(path_.c_str());
  ::shutdown(fd_.get(), SHUT_RD);
}

int ListeningSocket::fd() const { return Clock::now() < paused_until_ ? -1 : fd_.get(); }

bool ListeningSocket::may_enter(const os::Peer& peer,
                                const std::vector<std::uint32_t>& users) const {
  if (door_ == Door::kMetrics) return true;
  return peer.uid == 0 || peer.uid == ::geteuid() ||
         std::find(users.begin(), users.end(), peer.uid) != users.end();
}

bool ListeningSocket::accept(HttpServer& server, const std::vector<std::uint32_t>& users) {
  for (int i = 0; i < kMaxAccepted; ++i) {
    auto connection = os::accept_connection(fd_.get(), path_);
    if (!connection) {
      // Out of descriptors, most likely, and whoever has connected still waits.
      paused_until_ = Clock::now() + kPause;
      return false;
    }
    if (!*connection) return false;
    const auto peer = os::peer_of((*connection)->get());
    if (peer && may_enter(*peer, users)) {
      server.add(std::move(**connection), door_, peer->uid);
    } else {
      refuse(**connection);
    }
  }
  return true;
}

}  // namespace lamina::daemon
