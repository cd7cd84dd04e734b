#include "http/answer_reader.h"

#include <boost/asio/buffer.hpp>
#include <utility>

#include "base/error.h"

namespace lamina::http {
namespace {

namespace beast = boost::beast;

constexpr unsigned kFirstStatus = 100;
constexpr unsigned kSwitchingProtocols = 101;
constexpr unsigned kFirstFinalStatus = 200;

/// Nobody whom lamina asks has reason to send any.
constexpr unsigned kMaxInterimHeads = 16;

bool is_interim(unsigned status) {
  return status < kFirstFinalStatus && status != kSwitchingProtocols;
}

}  // namespace

AnswerReader::AnswerReader(std::size_t max_body_bytes) : max_body_bytes_(max_body_bytes) {
  begin();
}

void AnswerReader::begin() {
  parser_.emplace();
  parser_->eager(true);
  parser_->header_limit(static_cast<std::uint32_t>(kMaxHeadBytes));
  parser_->body_limit(max_body_bytes_);
  parser_->get().body().max_bytes = max_body_bytes_;
}

Status AnswerReader::failed(const beast::error_code& error) const {
  if (error == beast::http::error::body_limit) {
    return fail(ErrorKind::kFailed, "the answer has more than {} bytes", max_body_bytes_);
  }
  if (error == beast::http::error::header_limit) {
    return fail(ErrorKind::kFailed, "the answer's head has more than {} bytes", kMaxHeadBytes);
  }
  return fail(ErrorKind::kFailed, "no whole answer of HTTP/1.1: {}", error.message());
}

Result<bool> AnswerReader::take(std::string_view bytes) {
  rest_.append(bytes);
  while (!rest_.empty()) {
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
      return fail(ErrorKind::kFailed, "the answer has more than {} heads", kMaxInterimHeads);
    }
    begin();
  }
  return false;
}

Status AnswerReader::check_status() const {
  const unsigned status = parser_->get().result_int();
  if (status >= kFirstStatus) return {};
  return fail(ErrorKind::kFailed, "no whole answer of HTTP/1.1: its status is {}", status);
}

Status AnswerReader::end() {
  // Where nothing has arrived, put_eof() finds nothing wrong.
  if (!parser_->is_header_done()) return failed(beast::http::error::partial_message);
  beast::error_code error;
  parser_->put_eof(error);
  if (error) return failed(error);
  return check_status();
}

Answer AnswerReader::answer() {
  return {parser_->get().result_int(), std::move(parser_->get().body().text)};
}

}  // namespace lamina::http
