#include "http/request_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/beast/core/string.hpp>
#include <cctype>
#include <cstdint>
#include <utility>

namespace lamina::http {
namespace {

namespace beast = boost::beast;

constexpr unsigned kBadRequest = 400;
constexpr unsigned kContentTooLarge = 413;
constexpr unsigned kFieldsTooLarge = 431;
constexpr unsigned kHttp10 = 10;

/// The value of a hexadecimal digit; -1 for other characters.
int digit_value(char c) {
  constexpr int kTen = 10;
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + kTen;
  if (c >= 'A' && c <= 'F') return c - 'A' + kTen;
  return -1;
}

enum class Plus : bool { kKeep, kIsSpace };

/// Percent-decodes; invalid escapes stay as they are.
std::string decoded(std::string_view text, Plus plus) {
  constexpr int kBase = 16;
  std::string plain;
  plain.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const int high = text[i] == '%' && i + 2 < text.size() ? digit_value(text[i + 1]) : -1;
    const int low = high >= 0 ? digit_value(text[i + 2]) : -1;
    if (low >= 0) {
      plain += static_cast<char>(high * kBase + low);
      i += 2;
    } else {
      plain += text[i] == '+' && plus == Plus::kIsSpace ? ' ' : text[i];
    }
  }
  return plain;
}

/// Splits `text` at the first `separator`: returns what is before it and leaves what is after it.
std::string_view take_until(std::string_view& text, char separator) {
  const std::size_t end = std::min(text.find(separator), text.size());
  const std::string_view taken = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return taken;
}

/// True if RFC 9112 leaves no doubt where the body ends. Beast's parser ignores a transfer coding
/// that it does not know, and would take such a body for the next request.
template <class Fields>
bool has_clear_framing(const beast::http::request_header<Fields>& head) {
  using beast::http::field;
  const auto codings = head.count(field::transfer_encoding);
  if (codings == 0) return true;
  return codings == 1 && beast::iequals(head[field::transfer_encoding], "chunked") &&
         head.version() != kHttp10 && head.count(field::content_length) == 0;
}

bool has_nul(std::string_view text) { return text.find('\0') != std::string_view::npos; }

}  // namespace

RequestReader::RequestReader(std::size_t max_head_bytes, std::size_t max_body_bytes)
    : max_head_bytes_(max_head_bytes), max_body_bytes_(max_body_bytes) {
  begin();
}

void RequestReader::begin() {
  is_at_start_ = true;
  has_told_to_continue_ = false;
  parser_.emplace();
  parser_->eager(true);
  parser_->header_limit(static_cast<std::uint32_t>(max_head_bytes_));
  parser_->body_limit(max_body_bytes_);
  parser_->get().body().max_bytes = max_body_bytes_;
}

void RequestReader::skip_empty_lines() {
  if (is_at_start_) rest_.erase(0, std::min(rest_.find_first_not_of("\r\n"), rest_.size()));
}

RequestError RequestReader::rejected(const beast::error_code& error) const {
  if (error == beast::http::error::body_limit) {
    return {kContentTooLarge, fmt::format("the body is larger than {} bytes", max_body_bytes_)};
  }
  if (error == beast::http::error::header_limit) {
    return {kFieldsTooLarge, fmt::format("the header is larger than {} bytes", max_head_bytes_)};
  }
  return {kBadRequest, fmt::format("not an HTTP/1.1 request: {}", error.message())};
}

std::expected<bool, RequestError> RequestReader::take(std::string_view bytes) {
  rest_.append(bytes);
  skip_empty_lines();
  while (!rest_.empty()) {
    is_at_start_ = false;
    beast::error_code error;
    const std::size_t taken = parser_->put(boost::asio::buffer(rest_), error);
    rest_.erase(0, taken);
    if (error == beast::http::error::need_more) {
      if (rest_.size() <= max_head_bytes_) return false;
      error = beast::http::error::header_limit;
    }
    if (error) return std::unexpected(rejected(error));
    if (parser_->is_done()) return decode();
    if (taken == 0) return false;
  }
  return false;
}

std::expected<bool, RequestError> RequestReader::decode() {
  if (!has_clear_framing(parser_->get())) {
    return std::unexpected(RequestError{
        kBadRequest,
        "a Transfer-Encoding must be \"chunked\", in HTTP/1.1, without a Content-Length"});
  }
  request_ = {};
  request_.method = std::string(parser_->get().method_string());
  const std::string target(parser_->get().target());
  std::string_view query = target;
  request_.path = decoded(take_until(query, '?'), Plus::kKeep);
  bool is_valid = !has_nul(request_.path);
  while (!query.empty()) {
    std::string_view pair = take_until(query, '&');
    if (pair.empty()) continue;
    std::string name = decoded(take_until(pair, '='), Plus::kIsSpace);
    std::string value = decoded(pair, Plus::kIsSpace);
    is_valid = is_valid && !has_nul(name) && !has_nul(value);
    request_.query[std::move(name)] = std::move(value);
  }
  if (!is_valid) {
    return std::unexpected(RequestError{kBadRequest, "the target of the request has a NUL"});
  }
  request_.body = std::move(parser_->get().body().text);
  return true;
}

bool RequestReader::takes_continue() {
  if (has_told_to_continue_ || !parser_->is_header_done() || parser_->is_done()) return false;
  has_told_to_continue_ = true;
  return !is_http_1_0() &&
         beast::iequals(parser_->get()[beast::http::field::expect], "100-continue");
}

bool RequestReader::is_http_1_0() const { return parser_->get().version() == kHttp10; }

HeaderFields RequestReader::fields() const {
  HeaderFields fields;
  for (const auto& field : parser_->get()) {
    std::string name(field.name_string());
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
    fields.emplace_back(std::move(name), std::string(field.value()));
  }
  return fields;
}

ServerRequest RequestReader::next() {
  ServerRequest request = std::move(request_);
  begin();
  return request;
}

}  // namespace lamina::http
