// Parses an HTTP/1.1 response (RFC 9112) that arrives in pieces of any size.
#pragma once

#include <boost/beast/http/parser.hpp>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "http/limited_body.h"
#include "http/message.h"
#include "lamina/result.h"

namespace lamina::http {

/// Maximum size of a response header and of a chunk header.
inline constexpr std::size_t kMaxHeadBytes = std::size_t{64} << 10;

/// Not thread-safe. Must not be used after a failure.
class ResponseReader {
 public:
  explicit ResponseReader(std::size_t max_body_bytes);

  /// Parses the next bytes. True once the response is complete. kFailed if it is not a valid HTTP/1
  /// response or too large.
  Result<bool> take(std::string_view bytes);

  /// To be called at the end of the stream. kFailed if the response is incomplete.
  Status end();

  /// Moves the response out. REQUIRES: take() returned true, or end() succeeded.
  Response response();

 private:
  /// Prepares for the next header: interim ones (100 Continue) may precede the final one.
  void begin();
  /// Fixes a bare status line at the start of `rest_` for Beast. False if more bytes are needed.
  bool complete_status_line();
  [[nodiscard]] Status check_status() const;
  [[nodiscard]] Status failed(const boost::beast::error_code& error) const;

  std::size_t max_body_bytes_;
  std::optional<boost::beast::http::response_parser<LimitedBody>> parser_;
  unsigned interim_heads_ = 0;
  bool at_status_line_ = true;
  std::string rest_;  ///< received, but not yet consumed by the parser
};

}  // namespace lamina::http
