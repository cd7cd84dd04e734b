// HTTP requests and responses.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace lamina::http {

struct Request {
  std::string_view method;
  std::string_view target;  ///< percent-encoded
  std::string body;         ///< JSON; empty: no body
};

/// A complete response.
struct Response {
  unsigned status = 0;
  std::string body;
};

/// Default limit for the size of a response body.
inline constexpr std::size_t kMaxResponseBytes = std::size_t{1} << 20;

}  // namespace lamina::http
