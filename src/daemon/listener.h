// The daemon's listening sockets, and the check of the peer's user after accept(2).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "http/server_thread.h"
#include "lamina/result.h"
#include "os/fd.h"
#include "os/listening_socket.h"
#include "os/peer.h"

namespace lamina::daemon {

/// A listening Unix socket. The destructor removes it from the file system.
class Listener {
 public:
  /// `number`: kApiListener or kMetricsListener.
  static Result<Listener> open(const std::string& path, std::uint32_t mode, std::size_t number);

  Listener(Listener&&) = default;
  Listener& operator=(Listener&&) = delete;
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;
  ~Listener();

  // See os::ListeningSocket.
  [[nodiscard]] int polled_fd() const { return socket_.polled_fd(); }
  int expire() { return socket_.expire(); }

  /// Refuses further connections. Those that are pending can still be accepted.
  void close();

  /// Accepts pending connections and passes them to `server`. Returns false once none is pending or
  /// accept(2) fails, which begins a back-off. At the API's socket only root, the daemon's user and
  /// `users` are accepted (SO_PEERCRED); the others get status 403. At the metrics socket the mode
  /// of the socket decides.
  bool accept(http::ServerThread& server, const std::vector<std::uint32_t>& users);

 private:
  Listener(std::string path, os::Fd fd, std::size_t number)
      : path_(std::move(path)), socket_(std::move(fd)), number_(number) {}

  [[nodiscard]] bool is_allowed(const os::Peer& peer,
                                const std::vector<std::uint32_t>& users) const;

  std::string path_;
  os::ListeningSocket socket_;
  std::size_t number_;
  bool is_closed_ = false;
};

}  // namespace lamina::daemon
