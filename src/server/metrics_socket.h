// The Unix socket (mode 0600) where a page server answers every HTTP request with its metrics, for
// Prometheus through a proxy, `curl --unix-socket`, or `lamina serve --status`.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "http/server.h"
#include "lamina/result.h"
#include "os/unix_socket.h"
#include "server/listener.h"

namespace lamina::server {

/// Used by one thread.
class MetricsSocket {
 public:
  /// `inherited`: the listening socket of a predecessor, or invalid.
  static Result<MetricsSocket> create(const std::string& path, Listener inherited,
                                      os::ReplaceSocket replace);

  /// Both are readable if handle() has something to do. fd() is -1 during the back-off after
  /// accept(2) fails.
  [[nodiscard]] int fd() const { return listener_.polled_fd(); }
  [[nodiscard]] const Listener& listener() const { return listener_; }
  [[nodiscard]] int clients_fd() const { return server_->fd(); }

  /// Closes connections whose request has not arrived in time, and ends a back-off. Returns the
  /// milliseconds until it must be called again; -1: not before handle().
  int expire();

  /// Accepts clients and answers those whose request has arrived. Never blocks.
  void handle(const std::function<std::string()>& metrics);

  /// In a child, after fork(2): closes the child's copies of the connections.
  void close_copies() { server_->close_copies(); }
  /// In the same child when it takes the place of its parent.
  Status reopen() { return server_->reopen(); }

  /// Removes the socket from the file system.
  void remove() const { listener_.remove(); }

 private:
  MetricsSocket(std::string path, Listener listener, std::unique_ptr<http::Server> server)
      : path_(std::move(path)), listener_(std::move(listener)), server_(std::move(server)) {}

  std::string path_;
  Listener listener_;
  std::unique_ptr<http::Server> server_;
};

}  // namespace lamina::server
