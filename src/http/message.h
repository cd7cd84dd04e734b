// HTTP requests and responses, of the client and of the server.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>

namespace lamina::http {

/// A request that the client sends.
struct Request {
  std::string_view method;
  std::string_view target;  ///< percent-encoded
  std::string body;         ///< JSON; empty: no body
};

/// A complete response that the client received.
struct Response {
  unsigned status = 0;
  std::string body;
};

/// Default limit for the size of a response body.
inline constexpr std::size_t kMaxResponseBytes = std::size_t{1} << 20;

/// A complete request that the server received.
struct ServerRequest {
  std::size_t listener = 0;  ///< the number that the caller gave the connection
  std::string method;
  std::string path;                          ///< percent-decoded; has no NUL
  std::map<std::string, std::string> query;  ///< percent-decoded; of equal names the last one
  std::string body;
};

/// A response that the server sends.
struct ServerResponse {
  unsigned status = 200;
  std::string body;
  std::string content_type = "application/json";
  std::string allow;  ///< the Allow field, for status 405; empty: none
};

}  // namespace lamina::http
