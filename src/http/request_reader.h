// Parses HTTP/1 requests (RFC 9112) that arrive in pieces of any size, one after another.
#pragma once

#include <boost/beast/http/parser.hpp>
#include <cstddef>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "http/limited_body.h"
#include "http/message.h"

namespace lamina::http {

/// Names in lower case, and values.
using HeaderFields = std::vector<std::pair<std::string, std::string>>;

/// The reason why a request is rejected. The bytes after it cannot be parsed.
struct RequestError {
  unsigned status = 400;
  std::string message;
};

/// Not thread-safe.
class RequestReader {
 public:
  /// `max_head_bytes` limits the request line with all fields, and each chunk header.
  RequestReader(std::size_t max_head_bytes, std::size_t max_body_bytes);

  /// Parses the next bytes. True once a request is complete; the bytes after it are kept. Must not
  /// be called again after an error.
  std::expected<bool, RequestError> take(std::string_view bytes);

  /// True once for each request that waits for "100 Continue" before it sends its body.
  bool takes_continue();

  // REQUIRES: take() returned true.
  /// The fields of its header, in the order of arrival. Before next() only.
  [[nodiscard]] HeaderFields fields() const;
  /// Moves the request out and prepares for the next one.
  ServerRequest next();
  /// True if the client accepts further responses on this connection.
  [[nodiscard]] bool keeps_alive() const { return parser_->keep_alive(); }
  [[nodiscard]] bool is_http_1_0() const;

  /// True if bytes of the next request have been received.
  [[nodiscard]] bool has_bytes() const { return !rest_.empty(); }

 private:
  void begin();
  void skip_empty_lines();
  [[nodiscard]] RequestError rejected(const boost::beast::error_code& error) const;
  std::expected<bool, RequestError> decode();

  std::size_t max_head_bytes_;
  std::size_t max_body_bytes_;
  std::optional<boost::beast::http::request_parser<LimitedBody>> parser_;
  bool is_at_start_ = true;
  bool has_told_to_continue_ = false;
  ServerRequest request_;
  std::string rest_;  ///< received, but not yet consumed by the parser
};

}  // namespace lamina::http
