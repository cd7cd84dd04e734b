#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <list>
#include <string>

#include "lamina/result.h"
#include "os/fd.h"
#include "os/unix_socket.h"
#include "server/listener.h"

namespace lamina::server {

/// A Unix socket (mode 0600) that answers every request with the metrics, as HTTP/1.0: for
/// Prometheus through a proxy, curl --unix-socket, or lamina serve --status.
class MetricsSocket {
 public:
  /// `inherited`: the listening socket of a predecessor, or invalid.
  static Result<MetricsSocket> create(const std::string& path, Listener inherited,
                                      os::ReplaceSocket replace);

  MetricsSocket(MetricsSocket&&) = default;
  MetricsSocket& operator=(MetricsSocket&&) = delete;
  MetricsSocket(const MetricsSocket&) = delete;
  MetricsSocket& operator=(const MetricsSocket&) = delete;
  ~MetricsSocket() = default;

  /// Both are readable when handle() has something to do.
  [[nodiscard]] int fd() const { return listener_.fd(); }
  [[nodiscard]] const Listener& listener() const { return listener_; }
  [[nodiscard]] int clients_fd() const { return epoll_.get(); }

  /// Closes connections whose request has not come in time. Returns the milliseconds until the next
  /// one's time is over; -1 when none waits.
  int expire();

  /// Accepts clients and answers those whose request has arrived. Never waits.
  void handle(const std::function<std::string()>& metrics);

  /// In a child that does not answer them; and when it does, after all.
  void forget_clients();
  Status resume();

  /// Removes the socket from the file system.
  void remove() const { listener_.remove(); }

 private:
  MetricsSocket(std::string path, Listener listener)
      : path_(std::move(path)), listener_(std::move(listener)) {}

  using Clock = std::chrono::steady_clock;

  struct Client {
    os::Fd connection;
    pid_t process = -1;
    Clock::time_point since;
  };

  void answer_requests(const std::function<std::string()>& metrics);
  void make_room_for(pid_t process);
  void forget(int client);

  std::string path_;
  Listener listener_;
  os::Fd epoll_;
  std::list<Client> clients_;  ///< in the order of their arrival
};

}  // namespace lamina::server
