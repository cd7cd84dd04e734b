// What a client says, and what it is told.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace lamina::http {

struct Request {
  std::string_view method;
  std::string_view target;  ///< percent-encoded
  std::string body;         ///< JSON; empty: none is sent
};

/// An answer whose head and body were read whole.
struct Response {
  unsigned status = 0;
  std::string body;
};

/// An answer's body may have this many bytes where nothing else is said.
inline constexpr std::size_t kMaxResponseBytes = std::size_t{1} << 20;

}  // namespace lamina::http
