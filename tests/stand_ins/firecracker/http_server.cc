#include "stand_ins/firecracker/http_server.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <cstdlib>
#include <vector>

#include "base/error.h"
#include "stand_ins/sockets.h"

namespace lamina::tests {
namespace {

constexpr std::size_t kMaxConnections = 10;
constexpr std::size_t kMaxLineBytes = 1024;
constexpr std::string_view kLineEnd = "\r\n";

std::unexpected<Error> unparsable(const std::string& why) {
  return fail(ErrorKind::kFailed, "{}", why);
}

/// "METHOD URI VERSION".
Result<HttpRequest> parse_request_line(std::string_view line) {
  HttpRequest request;
  const std::size_t space = line.find(' ');
  request.method = line.substr(0, space);
  if (request.method != "GET" && request.method != "PUT" && request.method != "PATCH" &&
      request.method != "DELETE") {
    return unparsable("Invalid HTTP Method: Unsupported HTTP method.");
  }
  if (space == std::string_view::npos) return unparsable("Invalid request.");
  line.remove_prefix(space + 1);
  const std::size_t end = line.find(' ');
  std::string_view uri = line.substr(0, end);
  if (uri.empty()) return unparsable("Invalid URI: Empty URI not allowed.");
  constexpr std::string_view kScheme = "http://";
  if (uri.substr(0, kScheme.size()) == kScheme) {
    const std::size_t slash = uri.find('/', kScheme.size());
    uri = slash == std::string_view::npos ? "/" : uri.substr(slash);
  }
  request.path = uri;
  const std::string_view version = end == std::string_view::npos ? "" : line.substr(end + 1);
  if (version != "HTTP/1.1" && version != "HTTP/1.0") {
    return unparsable("Invalid HTTP Version: Unsupported HTTP version.");
  }
  return request;
}

struct Headers {
  std::size_t content_length = 0;
  bool expects_continue = false;
};

bool same_name(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](unsigned char x, unsigned char y) {
    return std::tolower(x) == std::tolower(y);
  });
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

Result<Headers> parse_headers(std::string_view lines) {
  Headers headers;
  while (!lines.empty()) {
    const std::size_t end = lines.find(kLineEnd);
    const std::string_view line = lines.substr(0, end);
    lines = end == std::string_view::npos ? "" : lines.substr(end + kLineEnd.size());
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) {
      return unparsable(fmt::format("Invalid header. Reason: Invalid header line: {}", line));
    }
    const std::string_view name = trimmed(line.substr(0, colon));
    const std::string_view value = trimmed(line.substr(colon + 1));
    if (same_name(name, "Expect")) headers.expects_continue = value == "100-continue";
    if (!same_name(name, "Content-Length")) continue;
    constexpr std::size_t kMaxDigits = 18;
    const bool is_number = std::all_of(value.begin(), value.end(),
                                       [](unsigned char digit) { return std::isdigit(digit); });
    if (value.empty() || value.size() > kMaxDigits || !is_number) {
      return unparsable(fmt::format(
          "Invalid header. Reason: Invalid value. Key:Content-Length; Value:{}", value));
    }
    headers.content_length = std::strtoull(std::string(value).c_str(), nullptr, 10);
  }
  return headers;
}

HttpResponse parse_failure(const Error& error) {
  return {.status = 400,
          .body = fmt::format(
              "{{ \"error\": \"{}\nAll previous unanswered requests will be dropped.\" }}",
              error.message)};
}

}  // namespace

std::string to_bytes(const HttpResponse& response) {
  std::string bytes = fmt::format(
      "HTTP/1.1 {} \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n", response.status);
  if (response.is_deprecated) bytes += "Deprecation: true\r\n";
  if (response.status != 204 && response.status != 100) {
    bytes += fmt::format("Content-Type: application/json\r\nContent-Length: {}\r\n",
                         response.body.size());
  }
  return bytes + "\r\n" + response.body;
}

void HttpServer::serve() {
  while (true) {
    std::vector<pollfd> waiting = {{listening_.get(), POLLIN, 0}};
    for (const Connection& connection : connections_) {
      waiting.push_back({connection.socket.get(), POLLIN, 0});
    }
    if (::poll(waiting.data(), waiting.size(), -1) < 0) continue;
    auto ready = waiting.begin() + 1;
    for (Connection& connection : connections_) {
      if ((ready++)->revents != 0) receive(connection);
    }
    std::erase_if(connections_, [](const Connection& connection) { return connection.is_closed; });
    if (waiting.front().revents != 0) accept_one();
  }
}

void HttpServer::accept_one() {
  os::Fd socket(::accept4(listening_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!socket.valid()) return;
  if (connections_.size() < kMaxConnections) {
    connections_.push_back({.socket = std::move(socket), .received = {}});
    return;
  }
  ++turned_away_;
  send_all(socket.get(),
           "HTTP/1.1 503\r\nServer: Firecracker API\r\nConnection: close\r\nContent-Length: "
           "40\r\n\r\n{ \"error\": \"Too many open connections\" }");
}

void HttpServer::receive(Connection& connection) {
  std::array<char, 4096> buffer{};
  const ssize_t count = ::recv(connection.socket.get(), buffer.data(), buffer.size(), 0);
  if (count < 0 && errno == EINTR) return;
  if (count <= 0) {
    connection.is_closed = true;
    return;
  }
  connection.received.append(buffer.data(), static_cast<std::size_t>(count));
  while (!connection.is_closed) {
    auto request = next_request(connection);
    if (!request) {
      answer(connection, parse_failure(request.error()));
    } else if (request->has_value()) {
      answer(connection, handler_(**request));
    } else {
      return;
    }
  }
}

Result<std::optional<HttpRequest>> HttpServer::next_request(Connection& connection) {
  std::string& received = connection.received;
  const std::size_t skipped = std::min(connection.body_to_skip, received.size());
  received.erase(0, skipped);
  connection.body_to_skip -= skipped;
  const std::size_t line_end = received.find(kLineEnd);
  if (line_end == std::string::npos) {
    if (received.size() < kMaxLineBytes) return std::nullopt;
    received.clear();
    return unparsable("Invalid request.");
  }
  auto request = parse_request_line(std::string_view(received).substr(0, line_end));
  if (!request) {
    received.clear();
    return std::unexpected(request.error());
  }
  const std::size_t headers_end = received.find("\r\n\r\n", line_end);
  if (headers_end == std::string::npos) return std::nullopt;
  const std::size_t head_bytes = headers_end + 2 * kLineEnd.size();
  const std::size_t headers_begin = std::min(line_end + kLineEnd.size(), headers_end);
  const auto headers =
      parse_headers(std::string_view(received).substr(headers_begin, headers_end - headers_begin));
  if (!headers) {
    received.clear();
    return std::unexpected(headers.error());
  }
  const std::size_t body_bytes = headers->content_length;
  if (body_bytes > kMaxBodyBytes) {
    // Answered before the body is there. It is skipped: micro_http would go on with it as if it
    // were requests, and answer each.
    received.erase(0, head_bytes);
    connection.body_to_skip = body_bytes;
    return unparsable(fmt::format(
        "Request payload with size {} is larger than the limit of {} allowed by server.",
        body_bytes, kMaxBodyBytes));
  }
  if (headers->expects_continue && body_bytes > 0 && !connection.said_continue) {
    connection.said_continue = true;
    send_all(connection.socket.get(), to_bytes({.status = 100}));
  }
  if (received.size() - head_bytes < body_bytes) return std::nullopt;
  if (body_bytes > 0) request->body = received.substr(head_bytes, body_bytes);
  received.erase(0, head_bytes + body_bytes);
  connection.said_continue = false;
  return std::move(*request);
}

void HttpServer::answer(Connection& connection, const HttpResponse& response) {
  if (response.hang_up || !send_all(connection.socket.get(), to_bytes(response))) {
    connection.is_closed = true;
  }
  if (response.exit_after) ::_exit(1);
}

}  // namespace lamina::tests
