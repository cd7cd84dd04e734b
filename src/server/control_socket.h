// Where a page server says that it is alive: a Unix socket (mode 0600) that greets each client and
// hangs up. Nothing is read and no client is kept, so no client can hold it up or use it up; the
// metrics, which others read, have a socket of their own.
#pragma once

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

  /// Readable when handle() has something to do.
  [[nodiscard]] int fd() const { return listener_.fd(); }
  [[nodiscard]] const Listener& listener() const { return listener_; }

  /// Greets the clients that have connected, a bounded number at once. Never waits.
  void handle() const;

  /// Removes the socket from the file system.
  void remove() const { listener_.remove(); }

 private:
  ControlSocket(std::string path, Listener listener)
      : path_(std::move(path)), listener_(std::move(listener)) {}

  std::string path_;
  Listener listener_;
};

/// kServes when a server greets at the control socket, kBusy when it has let ten seconds pass
/// without hanging up, else kSilent.
StoreServer ask_control(const std::string& control_socket);

}  // namespace lamina::server
