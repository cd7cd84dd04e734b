// The sockets that clients come by, and who may.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "daemon/http_server.h"
#include "lamina/result.h"
#include "os/fd.h"
#include "os/peer.h"

namespace lamina::daemon {

/// A listening Unix socket, removed from the file system when it goes.
class ListeningSocket {
 public:
  static Result<ListeningSocket> open(const std::string& path, std::uint32_t mode, Door door);

  ListeningSocket(ListeningSocket&&) = default;
  ListeningSocket& operator=(ListeningSocket&&) = delete;
  ListeningSocket(const ListeningSocket&) = delete;
  ListeningSocket& operator=(const ListeningSocket&) = delete;
  ~ListeningSocket();

  /// To be polled; -1 for a moment after accepting has failed.
  [[nodiscard]] int fd() const;

  /// From now on nobody can connect; who has can still be accepted.
  void close();

  /// Hands connections that wait to `server`; false when none is left. By the API's door only root,
  /// the own user and `users` come in (SO_PEERCRED); others are told so. By that of the metrics
  /// whoever may open the socket.
  bool accept(HttpServer& server, const std::vector<std::uint32_t>& users);

 private:
  ListeningSocket(std::string path, os::Fd fd, Door door)
      : path_(std::move(path)), fd_(std::move(fd)), door_(door) {}

  using Clock = std::chrono::steady_clock;

  [[nodiscard]] bool may_enter(const os::Peer& peer, const std::vector<std::uint32_t>& users) const;

  std::string path_;
  os::Fd fd_;
  Door door_;
  bool is_closed_ = false;
  Clock::time_point paused_until_;
};

}  // namespace lamina::daemon
