// An HTTP server that sends what a test has written down, byte for byte.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <limits>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "os/event.h"
#include "os/fd.h"

namespace lamina::tests {

/// What the server does with one request.
struct Reply {
  std::string text{};
  /// Bytes of `text` that are sent.
  std::size_t length = std::numeric_limits<std::size_t>::max();
  /// Bytes of the request's body that are read before anything is sent; by default all of it.
  std::size_t body_bytes_read = std::numeric_limits<std::size_t>::max();
  /// False: the connection is closed, or falls silent, before the request is read.
  bool reads_request = true;
  /// After each byte.
  std::chrono::milliseconds pace{0};
  enum class Then : std::uint8_t {
    kClose,
    kReset,  ///< closes with RST
    kHang,   ///< says nothing more, until the client leaves
    kKeep,   ///< reads the next request
  };
  Then then = Then::kClose;
};

/// "HTTP/1.1 200 OK", the headers ("a: b\r\n" each), Content-Length and the body.
std::string http_text(const std::string& status, const std::string& headers,
                      const std::string& body);

/// Listens on 127.0.0.1. The n-th request, on whatever connection, gets the n-th reply; requests
/// beyond the last reply find their connection closed.
class ScriptedServer {
 public:
  explicit ScriptedServer(std::vector<Reply> replies);
  ScriptedServer(const ScriptedServer&) = delete;
  ScriptedServer& operator=(const ScriptedServer&) = delete;
  ScriptedServer(ScriptedServer&&) = delete;
  ScriptedServer& operator=(ScriptedServer&&) = delete;
  ~ScriptedServer();

  /// "http://127.0.0.1:port"
  [[nodiscard]] std::string url() const;
  /// The heads of all requests so far.
  [[nodiscard]] std::vector<std::string> heads();

 private:
  void accept_all();
  void serve(os::Fd connection);
  /// The next reply, if it does not wait for a request.
  bool take_reply_without_request(Reply& reply);
  /// Receives a request and takes its reply; false at the end of the connection or of the replies.
  bool receive_request(int fd, std::string& received, Reply& reply);
  void end_connection(int fd, Reply::Then then);
  bool take_reply(Reply& reply);
  /// Waits until `fd` is readable; false when the server ends.
  [[nodiscard]] bool wait_readable(int fd) const;

  os::Fd listener_;
  std::uint16_t port_ = 0;
  os::Event ending_;
  std::mutex mutex_;
  std::deque<Reply> replies_;
  std::vector<std::string> heads_;
  std::vector<std::thread> connections_;
  std::thread acceptor_;
};

/// A port of 127.0.0.1 on which nobody listens.
std::string refused_url();

}  // namespace lamina::tests
