// A listening socket and its name in the file system.
//
// The name is kept as a directory, opened, and the numbers of the socket's file: the directory may
// be renamed meanwhile, and another process may have put its own socket at the name. Only what was
// bound here is removed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "lamina/result.h"
#include "os/fd.h"
#include "os/listening_socket.h"
#include "os/unix_socket.h"

namespace lamina::server {

/// Where a socket's file is.
struct SocketName {
  os::Fd directory;  ///< invalid: not known, and the file is left where it is
  std::string name;
  std::uint64_t device = 0;
  std::uint64_t inode = 0;

  /// Of the socket at `path` now. Without a directory when it cannot be looked at.
  static SocketName of(const std::string& path);
};

/// Used by one thread.
class Listener {
 public:
  Listener() = default;

  /// Makes a listening socket, as os::listen_at().
  static Result<Listener> bind(const std::string& path, const os::SocketAccess& access);

  /// That of a predecessor.
  Listener(os::Fd socket, SocketName name) : socket_(std::move(socket)), name_(std::move(name)) {}

  [[nodiscard]] bool valid() const { return socket_.valid(); }
  [[nodiscard]] int fd() const { return socket_.fd(); }
  // See os::ListeningSocket.
  [[nodiscard]] int polled_fd() const { return socket_.polled_fd(); }
  [[nodiscard]] bool backs_off() const { return socket_.backs_off(); }
  Result<std::optional<os::Fd>> accept(const std::string& path) noexcept {
    return socket_.accept(path);
  }
  int expire() { return socket_.expire(); }
  [[nodiscard]] const SocketName& name() const { return name_; }

  /// Gives `path` as its name when a predecessor did not say it: older ones do not.
  void set_path_if_unknown(const std::string& path);

  /// Removes its file, unless another one has the name by now.
  void remove() const noexcept;

 private:
  os::ListeningSocket socket_;
  SocketName name_;
};

}  // namespace lamina::server
