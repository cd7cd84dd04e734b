// Where a page server says that it is there: a Unix socket (mode 0600) that greets who connects and
// hangs up. Nothing is read and nobody is kept, so there is nothing to hold up or to use up; the
// metrics, which others read, have a socket of their own.
#pragma once

#include <string>

#include "lamina/result.h"
#include "lamina/serve.h"
#include "os/fd.h"
#include "os/unix_socket.h"

namespace lamina::server {

class ControlSocket {
 public:
  /// `inherited`: the listening socket of a predecessor, or invalid.
  static Result<ControlSocket> create(const std::string& path, os::Fd inherited,
                                      os::AtPath at_path);

  /// Readable when handle() has something to do.
  [[nodiscard]] int fd() const { return listening_.get(); }

  /// Greets those who have connected, a bounded number at once. Never waits.
  void handle() const;

  /// Removes the socket from the file system; `path` is where it is by now.
  static void remove(const std::string& path);

 private:
  ControlSocket(std::string path, os::Fd listening)
      : path_(std::move(path)), listening_(std::move(listening)) {}

  std::string path_;
  os::Fd listening_;
};

/// kServes when a server greets at the control socket, kBusy when it has let ten seconds pass
/// without hanging up, else kSilent.
StoreServer ask_control(const std::string& control_socket);

}  // namespace lamina::server
