#pragma once

#include <functional>
#include <list>
#include <string>

#include "lamina/result.h"
#include "sys/fd.h"
#include "sys/unix_socket.h"

namespace lamina::server {

/// A Unix socket (mode 0600) that answers every request with the metrics, as HTTP/1.0: for
/// Prometheus through a proxy, curl --unix-socket, or lamina serve --status.
class MetricsSocket {
 public:
  /// `inherited`: the listening socket of a predecessor, or invalid.
  static Result<MetricsSocket> create(const std::string& path, sys::Fd inherited,
                                      sys::AtPath at_path);

  MetricsSocket(MetricsSocket&&) = default;
  MetricsSocket& operator=(MetricsSocket&&) = delete;
  MetricsSocket(const MetricsSocket&) = delete;
  MetricsSocket& operator=(const MetricsSocket&) = delete;
  ~MetricsSocket() = default;

  /// Both are readable when handle() has something to do.
  [[nodiscard]] int fd() const { return listening_.get(); }
  [[nodiscard]] int clients_fd() const { return epoll_.get(); }

  /// Accepts clients and answers those whose request has arrived. Never waits.
  void handle(const std::function<std::string()>& metrics);

  /// In a child that does not answer them.
  void forget_clients();

  /// Removes the socket from the file system.
  void remove();

 private:
  MetricsSocket(std::string path, sys::Fd listening)
      : path_(std::move(path)), listening_(std::move(listening)) {}

  void answer_those_who_asked(const std::function<std::string()>& metrics);
  void forget(int client);

  std::string path_;
  sys::Fd listening_;
  sys::Fd epoll_;
  std::list<sys::Fd> clients_;  ///< in the order of their arrival
};

/// True when a server answers at the metrics socket, or has let ten seconds pass without hanging
/// up: it is busy then.
bool answers_at(const std::string& metrics_socket);

}  // namespace lamina::server
