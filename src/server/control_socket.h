// The socket that shows that a page server is alive: a Unix socket (mode 0600) that sends each
// client one line and closes the connection. Nothing is read and no client is kept, so clients can
// neither block it nor use it up. The metrics have a socket of their own.
#pragma once

#include <optional>
#include <string>

#include "lamina/result.h"
#include "lamina/serve.h"
#include "os/unix_socket.h"
#include "server/listener.h"

namespace lamina::server {

class ControlSocket {
 public:
  /// `inherited`: the listening socket of a predecessor, or invalid.
  static Result<ControlSocket> create(const std::string& path, Listener inherited,
                                      os::ReplaceSocket replace);

  /// Readable when handle() has something to do; -1 during the back-off after accept(2) fails.
  [[nodiscard]] int fd() const { return listener_.polled_fd(); }
  [[nodiscard]] const Listener& listener() const { return listener_; }

  /// Greets the clients that have connected, a bounded number at once. `failure`: why no VM can be
  /// served. Never waits.
  void handle(const std::optional<std::string>& failure);

  /// Ends a back-off. Returns the milliseconds until it must be called again; -1: not before
  /// handle().
  int expire() { return listener_.expire(); }

  /// Removes the socket from the file system.
  void remove() const { listener_.remove(); }

 private:
  ControlSocket(std::string path, Listener listener)
      : path_(std::move(path)), listener_(std::move(listener)) {}

  std::string path_;
  Listener listener_;
};

/// kServes when a server greets at the control socket, kCannotServe when it says why it cannot
/// (then `cause` is set unless it is null), kBusy when it has let ten seconds pass without hanging
/// up, else kSilent.
StoreServer ask_control(const std::string& control_socket, std::string* cause);

}  // namespace lamina::server
