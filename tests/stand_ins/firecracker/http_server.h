// HTTP/1.1 as Firecracker's micro_http speaks it: one thread, one request at a time, connections
// that stay open, and answers whose bytes are exactly these. What cannot be parsed is answered with
// {"error": …}, not with a fault message, and is not even JSON: there is a line feed in the string.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <list>
#include <optional>
#include <string>

#include "lamina/result.h"
#include "os/fd.h"

namespace lamina::tests {

inline constexpr std::size_t kMaxBodyBytes = 51200;

struct HttpRequest {
  std::string method;  ///< GET, PUT, PATCH or DELETE
  std::string path;
  std::optional<std::string> body;  ///< none when it is empty
};

struct HttpResponse {
  int status = 204;
  std::string body = {};
  bool is_deprecated = false;
  bool hang_up = false;     ///< closes the connection instead of answering
  bool exit_after = false;  ///< ends the process with 1 once it is sent
};

/// The bytes of a response.
std::string to_bytes(const HttpResponse& response);

class HttpServer {
 public:
  using Handler = std::function<HttpResponse(const HttpRequest&)>;

  /// Counts in `turned_away` the connections that there was no room for.
  HttpServer(os::Fd listening, std::atomic<unsigned>& turned_away, Handler handler)
      : listening_(std::move(listening)), turned_away_(turned_away), handler_(std::move(handler)) {}

  /// Serves without end.
  [[noreturn]] void serve();

 private:
  struct Connection {
    os::Fd socket;
    std::string received;
    std::size_t body_to_skip = 0;  ///< of a request that was refused for its size
    bool said_continue = false;
    bool is_closed = false;
  };

  void accept_one();
  void receive(Connection& connection);
  /// Takes one whole request from what was received. An error is a request that cannot be parsed.
  static Result<std::optional<HttpRequest>> next_request(Connection& connection);
  void answer(Connection& connection, const HttpResponse& response);

  os::Fd listening_;
  std::atomic<unsigned>& turned_away_;
  Handler handler_;
  std::list<Connection> connections_;
};

}  // namespace lamina::tests
