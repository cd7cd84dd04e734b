// An HTTP/1.1 server without threads, for connections that its caller accepts.
//
// The caller polls fd() and calls run(), which never blocks. A request is answered at once, or
// later through respond(), so that the caller can pass it to other threads (server_thread.h). A
// slow or silent client costs a descriptor and a little memory, and is disconnected in the end.
//
// A client that disconnects does not cancel its request.
//
// fork(2): a child shares connections and the epoll instance with its parent. In the child
// close_copies() closes only the child's descriptors; see docs/decisions/0024-http.md.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "http/message.h"
#include "http/request_reader.h"
#include "lamina/result.h"
#include "os/fd.h"

namespace lamina::http {

/// Limits on the connections of one listener. If they are reached, a new connection replaces the
/// one that has been idle longest.
struct ConnectionLimits {
  std::size_t max_connections = 0;
  /// The owner is a number that the caller chooses, such as a user or a process.
  std::size_t max_connections_of_one_owner = 0;
};

/// Not thread-safe, except where noted.
class Server {
 public:
  using Clock = std::chrono::steady_clock;
  using ConnectionId = std::uint64_t;

  struct Options {
    /// By the number of the listener.
    std::vector<ConnectionLimits> listeners;
    std::size_t max_head_bytes = std::size_t{32} << 10;
    std::size_t max_body_bytes = std::size_t{64} << 10;
    /// From the start of a connection, or from its last response, to the end of a request.
    std::chrono::milliseconds request_timeout = std::chrono::seconds(30);
    /// Between two pieces of a response that the client accepts.
    std::chrono::milliseconds send_timeout = std::chrono::seconds(60);
    /// False: every response closes its connection.
    bool keeps_alive = true;
    /// Looks at a request and the fields of its header before it is handled, and may respond to it.
    /// Must not block. Null: every request is handled.
    std::function<std::optional<ServerResponse>(const ServerRequest&, const HeaderFields&)> check;
    /// Fields that the header of every response has besides. Valid names and values (RFC 9110).
    HeaderFields response_fields;
    /// The response to a request that is rejected before it is handled. May throw.
    std::function<ServerResponse(unsigned status, const std::string& message)> error_response;
    /// The response to each request after stop_requests(). Null: never called.
    std::function<ServerResponse()> stopping_response;
    /// Called with the status of each response. May be null.
    std::function<void(unsigned status)> count_response;
  };

  /// Returns the response, or nullopt if respond() will be called. Must not call the server. If it
  /// throws, the response has status 500.
  using Handler = std::function<std::optional<ServerResponse>(ConnectionId, ServerRequest)>;

  static Result<std::unique_ptr<Server>> create(Options options);

  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  Server(Server&&) = delete;
  Server& operator=(Server&&) = delete;
  ~Server();

  /// Serves a connected stream socket. If the limits of `listener` permit neither a new connection
  /// nor the replacement of an idle one, responds with status 503 and closes it. Closes it without
  /// a response if memory is short.
  void add(os::Fd socket, std::size_t listener, std::int64_t owner);

  /// Readable if run() has something to do; -1 after close_copies().
  [[nodiscard]] int fd() const { return epoll_.get(); }

  /// Receives requests, passes them to `handle`, sends responses. Does a bounded amount of work.
  void run(const Handler& handle);

  /// Sends the response to a request for which the handler returned nullopt.
  void respond(ConnectionId id, const ServerResponse& response);

  /// Closes connections whose time is over. Returns the milliseconds until it must be called again;
  /// -1: not before the next call of another function.
  int expire();

  /// From now on requests get stopping_response(); those that were passed to the handler continue.
  /// Reads no byte that a client sends after this call, answers what was sent before, then closes
  /// the connections.
  void stop_requests();

  /// In a child, after fork(2): forgets all connections. The parent's clients do not notice it.
  void close_copies();
  /// In the same child: serves new connections.
  Status reopen();

  /// Open connections. Thread-safe; a handler may call it.
  [[nodiscard]] std::size_t connections() const { return open_; }
  /// Requests without a complete response. Thread-safe; a handler may call it.
  [[nodiscard]] std::size_t unanswered() const { return unanswered_; }

  /// 500 with the message of an exception, or without one if memory is short.
  [[nodiscard]] ServerResponse error_response(unsigned status, const char* message) const noexcept;

 private:
  struct Connection;
  using Connections = std::map<ConnectionId, Connection>;
  using Entry = Connections::iterator;

  explicit Server(Options options);
  [[nodiscard]] bool make_room(std::size_t listener, std::int64_t owner);
  /// Does what the state of a connection needs. Closes it if memory is short.
  void step(Entry entry, const Handler& handle);
  void receive(Entry entry, const Handler& handle);
  void handle_request(Entry entry, const Handler& handle);
  void reject(Entry entry, const RequestError& error);
  void start_response(Entry entry, const ServerResponse& response);
  void send(Entry entry);
  void finish_response(Entry entry);
  void drain(Entry entry);
  void wait_for(Entry entry, std::uint32_t events);
  void close(Entry entry);
  /// The end of a connection's current wait; nullopt while its request is handled.
  [[nodiscard]] std::optional<Clock::time_point> deadline(const Connection& connection) const;
  /// Restarts the wait of a connection.
  void restart_wait(Connection& connection);

  const Options options_;
  os::Fd epoll_;
  Connections connections_;
  ConnectionId last_id_ = 0;
  bool stopping_ = false;
  Clock::time_point next_expiry_ = Clock::time_point::max();  ///< no deadline is earlier
  std::atomic<std::size_t> open_ = 0;
  std::atomic<std::size_t> unanswered_ = 0;
};

/// Sends a response on a connection that is not given to a server, as far as its buffer permits.
/// Sends nothing if memory is short.
void send_refusal(const os::Fd& socket, const ServerResponse& response) noexcept;

}  // namespace lamina::http
