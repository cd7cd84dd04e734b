#include "http/response_reader.h"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <utility>

#include "base/error.h"

namespace lamina::http {
namespace {

namespace beast = boost::beast;

constexpr unsigned kFirstStatus = 100;
constexpr unsigned kSwitchingProtocols = 101;
constexpr unsigned kFirstFinalStatus = 200;

/// No server that lamina talks to has a reason to send any.
constexpr unsigned kMaxInterimHeads = 16;

/// A status line that lacks the space after the code, which RFC 9112 requires even without a reason
/// phrase. Firecracker's 503 response to excess connections begins like this. '#' stands for a
/// digit.
constexpr std::string_view kBareStatusLine = "HTTP/1.# ###\r\n";

/// True if the common prefix length of `text` and `form` has the form of `form`.
bool fits(std::string_view text, std::string_view form) {
  const std::size_t size = std::min(text.size(), form.size());
  for (std::size_t i = 0; i < size; ++i) {
    const bool is_digit = text[i] >= '0' && text[i] <= '9';
    if (form[i] == '#' ? !is_digit : text[i] != form[i]) return false;
  }
  return true;
}

bool is_interim(unsigned status) {
  return status < kFirstFinalStatus && status != kSwitchingProtocols;
}

}  // namespace

ResponseReader::ResponseReader(std::size_t max_body_bytes) : max_body_bytes_(max_body_bytes) {
  begin();
}

void ResponseReader::begin() {
  at_status_line_ = true;
  parser_.emplace();
  parser_->eager(true);
  parser_->header_limit(static_cast<std::uint32_t>(kMaxHeadBytes));
  parser_->body_limit(max_body_bytes_);
  parser_->get().body().max_bytes = max_body_bytes_;
}

bool ResponseReader::complete_status_line() {
  if (!at_status_line_) return true;
  if (fits(rest_, kBareStatusLine)) {
    if (rest_.size() < kBareStatusLine.size()) return false;
    constexpr std::size_t kLineEndBytes = 2;
    rest_.insert(kBareStatusLine.size() - kLineEndBytes, 1, ' ');
  }
  at_status_line_ = false;
  return true;
}

Status ResponseReader::failed(const beast::error_code& error) const {
  if (error == beast::http::error::body_limit) {
    return fail(ErrorKind::kFailed, "the response has more than {} bytes", max_body_bytes_);
  }
  if (error == beast::http::error::header_limit) {
    return fail(ErrorKind::kFailed, "the response's header has more than {} bytes", kMaxHeadBytes);
  }
  return fail(ErrorKind::kFailed, "not a complete HTTP/1.1 response: {}", error.message());
}

Result<bool> ResponseReader::take(std::string_view bytes) {
  rest_.append(bytes);
  while (!rest_.empty()) {
    if (!complete_status_line()) return false;
    beast::error_code error;
    const std::size_t taken = parser_->put(boost::asio::buffer(rest_), error);
    rest_.erase(0, taken);
    if (error == beast::http::error::need_more) {
      if (rest_.size() <= kMaxHeadBytes) return false;
      error = beast::http::error::header_limit;
    }
    if (error) LAMINA_RETURN_IF_ERROR(failed(error));
    if (!parser_->is_done()) {
      if (taken == 0) return false;
      continue;
    }
    LAMINA_RETURN_IF_ERROR(check_status());
    if (!is_interim(parser_->get().result_int())) return true;
    if (++interim_heads_ > kMaxInterimHeads) {
      return fail(ErrorKind::kFailed, "the response has more than {} interim headers",
                  kMaxInterimHeads);
    }
    begin();
  }
  return false;
}

Status ResponseReader::check_status() const {
  const unsigned status = parser_->get().result_int();
  if (status >= kFirstStatus) return {};
  return fail(ErrorKind::kFailed, "not a valid HTTP/1.1 response: its status is {}", status);
}

Status ResponseReader::end() {
  // put_eof() does not report an error if nothing has arrived.
  if (!parser_->is_header_done()) return failed(beast::http::error::partial_message);
  beast::error_code error;
  parser_->put_eof(error);
  if (error) return failed(error);
  return check_status();
}

Response ResponseReader::response() {
  return {parser_->get().result_int(), std::move(parser_->get().body().text)};
}

}  // namespace lamina::http
