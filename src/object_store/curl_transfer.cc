#include "object_store/curl_transfer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/contain.h"
#include "base/error.h"
#include "base/escape.h"

namespace lamina::object_store {
namespace {

constexpr std::size_t kMaxHeaderBytes = std::size_t{64} << 10;
constexpr std::size_t kMaxErrorBodyBytes = std::size_t{64} << 10;
/// An error's body that goes on for longer than this ends the transfer.
constexpr std::uint64_t kMaxIgnoredBytes = std::uint64_t{1} << 20;
constexpr long kTransferBufferBytes = 256L << 10;

std::string lower_case(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return result;
}

std::string_view without_space(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && std::string_view(" \t\r\n").contains(text.back())) text.remove_suffix(1);
  return text;
}

HttpFailure failure_of(CURLcode code) {
  switch (code) {
    case CURLE_OK:
      return HttpFailure::kNone;
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_SSL_CONNECT_ERROR:
      return HttpFailure::kNotConnected;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
      return HttpFailure::kNotTrusted;
    case CURLE_OPERATION_TIMEDOUT:
      return HttpFailure::kTimedOut;
    case CURLE_OUT_OF_MEMORY:
    case CURLE_FAILED_INIT:
    case CURLE_URL_MALFORMAT:
      return HttpFailure::kLocal;
    default:
      return HttpFailure::kBroken;
  }
}

std::int64_t milliseconds_left(std::chrono::steady_clock::time_point until) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
      until - std::chrono::steady_clock::now());
  return std::max<std::int64_t>(1, left.count());
}

}  // namespace

CurlTransfer::CurlTransfer(const CurlLibrary& curl, Id id, HttpRequest request,
                           Completion completion)
    : curl_(curl),
      id_(id),
      request_(std::move(request)),
      completion_(std::move(completion)),
      deadline_(Clock::now() + request_.limits.deadline) {}

void CurlTransfer::set(CURLoption option, auto value) {
  // Fails only for options that this libcurl does not know, and without memory.
  static_cast<void>(curl_.easy_setopt(handle_.get(), option, value));
}

Status CurlTransfer::prepare(CURLSH* share, const std::string& ca_file) {
  handle_ = EasyHandle(curl_.easy_init(), curl_.easy_cleanup);
  if (handle_.get() == nullptr) return fail(ErrorKind::kFailed, "libcurl has no memory");
  set(CURLOPT_PRIVATE, this);
  set(CURLOPT_SHARE, share);
  set(CURLOPT_ERRORBUFFER, error_text_.data());
  set(CURLOPT_URL, request_.url.c_str());
  set(CURLOPT_PATH_AS_IS, 1L);
  set(CURLOPT_PROTOCOLS_STR, "http,https");
  set(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  set(CURLOPT_FOLLOWLOCATION, 0L);
  set(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_TCP_NODELAY, 1L);
  set(CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
  if (!ca_file.empty()) set(CURLOPT_CAINFO, ca_file.c_str());
  if (request_.is_direct) set(CURLOPT_NOPROXY, "*");
  if (request_.is_sent_once) set(CURLOPT_FRESH_CONNECT, 1L);
  set(CURLOPT_BUFFERSIZE, kTransferBufferBytes);
  set(CURLOPT_UPLOAD_BUFFERSIZE, kTransferBufferBytes);
  set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(request_.limits.connect.count()));
  set(CURLOPT_TIMEOUT_MS, static_cast<long>(milliseconds_left(deadline_)));
  set(CURLOPT_HEADERFUNCTION, &CurlTransfer::on_header);
  set(CURLOPT_HEADERDATA, this);
  set(CURLOPT_WRITEFUNCTION, &CurlTransfer::on_body);
  set(CURLOPT_WRITEDATA, this);
  set_body_options();
  // TLS, redirects and slow starts of a connection have their own limit.
  window_end_ = Clock::now() + request_.limits.connect + request_.limits.stall;
  return set_headers();
}

void CurlTransfer::set_body_options() {
  if (request_.method == "HEAD") {
    set(CURLOPT_NOBODY, 1L);
    return;
  }
  set(CURLOPT_CUSTOMREQUEST, request_.method.c_str());
  if (request_.method != "PUT" && request_.method != "POST") return;
  set(CURLOPT_UPLOAD, 1L);
  set(CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(request_.body.size()));
  set(CURLOPT_READFUNCTION, &CurlTransfer::on_read);
  set(CURLOPT_READDATA, this);
  set(CURLOPT_SEEKFUNCTION, &CurlTransfer::on_seek);
  set(CURLOPT_SEEKDATA, this);
}

Status CurlTransfer::set_headers() {
  const auto add = [&](const std::string& line) {
    curl_slist* const longer = curl_.slist_append(headers_.get(), line.c_str());
    if (longer == nullptr) return false;
    static_cast<void>(headers_.release());  // the same list
    headers_ = HeaderList(longer, curl_.slist_free_all);
    return true;
  };
  // No "Expect: 100-continue", which costs a round trip, or a second where it is not answered.
  bool ok = add("Expect:");
  for (const auto& [name, value] : request_.headers) {
    // "Name;" is libcurl's form of a header without a value.
    ok = ok && add(value.empty() ? name + ";" : fmt::format("{}: {}", name, value));
  }
  if (!ok) return fail(ErrorKind::kFailed, "libcurl has no memory");
  set(CURLOPT_HTTPHEADER, headers_.get());
  return {};
}

std::size_t CurlTransfer::on_header(char* data, std::size_t size, std::size_t count, void* self) {
  auto& transfer = *static_cast<CurlTransfer*>(self);
  const std::size_t length = size * count;
  const auto taken = contain("header of an answer", [&]() -> Result<bool> {
    return transfer.take_header(std::string_view(data, length));
  });
  return taken && *taken ? length : 0;
}

bool CurlTransfer::take_header(std::string_view line) {
  moved_ += line.size();
  header_bytes_ += line.size();
  if (header_bytes_ > kMaxHeaderBytes) return false;
  if (line.starts_with("HTTP/")) {
    answer_.headers.clear();  // those of "100 Continue"
    answer_.status = 0;
    return true;
  }
  if (without_space(line).empty()) {
    long status = 0;
    static_cast<void>(curl_.easy_getinfo(handle_.get(), CURLINFO_RESPONSE_CODE, &status));
    if (status >= 200) answer_.status = static_cast<int>(status);
    return true;
  }
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos) return true;
  answer_.headers.insert_or_assign(lower_case(line.substr(0, colon)),
                                   std::string(without_space(line.substr(colon + 1))));
  return true;
}

std::size_t CurlTransfer::on_body(char* data, std::size_t size, std::size_t count, void* self) {
  auto& transfer = *static_cast<CurlTransfer*>(self);
  const std::size_t length = size * count;
  const auto taken = contain("body of an answer", [&]() -> Result<bool> {
    return transfer.take_body(std::string_view(data, length));
  });
  return taken && *taken ? length : 0;
}

bool CurlTransfer::take_body(std::string_view piece) {
  moved_ += piece.size();
  const auto bytes = std::as_bytes(std::span(piece));
  if (!is_success()) {
    answer_.body_bytes += bytes.size();
    if (answer_.body_bytes > kMaxIgnoredBytes) return false;
    const std::size_t rest = kMaxErrorBodyBytes - answer_.body.size();
    const auto kept = bytes.first(std::min(rest, bytes.size()));
    answer_.body.insert(answer_.body.end(), kept.begin(), kept.end());
    return true;
  }
  const std::uint64_t limit = request_.buffer.empty() ? request_.max_bytes : request_.buffer.size();
  if (bytes.size() > limit - answer_.body_bytes) {
    is_too_long_ = true;
    return false;
  }
  if (request_.buffer.empty()) {
    answer_.body.insert(answer_.body.end(), bytes.begin(), bytes.end());
  } else {
    std::memcpy(request_.buffer.data() + answer_.body_bytes, bytes.data(), bytes.size());
  }
  answer_.body_bytes += bytes.size();
  return true;
}

std::size_t CurlTransfer::on_read(char* data, std::size_t size, std::size_t count, void* self) {
  auto& transfer = *static_cast<CurlTransfer*>(self);
  const auto rest = transfer.request_.body.subspan(transfer.body_sent_);
  const std::size_t length = std::min(rest.size(), size * count);
  if (length > 0) std::memcpy(data, rest.data(), length);
  transfer.body_sent_ += length;
  transfer.moved_ += length;
  return length;
}

int CurlTransfer::on_seek(void* self, curl_off_t offset, int origin) {
  auto& transfer = *static_cast<CurlTransfer*>(self);
  if (origin != SEEK_SET || offset < 0 || transfer.request_.is_sent_once) return CURL_SEEKFUNC_FAIL;
  if (static_cast<std::uint64_t>(offset) > transfer.request_.body.size()) return CURL_SEEKFUNC_FAIL;
  transfer.body_sent_ = static_cast<std::size_t>(offset);
  return CURL_SEEKFUNC_OK;
}

bool CurlTransfer::is_stalled(Clock::time_point now) {
  if (now < window_end_) return false;
  const auto window = std::chrono::duration<double>(request_.limits.stall).count();
  const double wanted = static_cast<double>(request_.limits.min_bytes_per_second) * window;
  const bool is_waiting = answer_.status == 0 && body_sent_ == request_.body.size();
  const bool is_slow = static_cast<double>(moved_ - moved_before_) < std::max(wanted, 1.0);
  moved_before_ = moved_;
  window_end_ = now + request_.limits.stall;
  return is_slow && (request_.stalls_before_answer || !is_waiting);
}

bool CurlTransfer::was_sent() const {
  if (handle_.get() == nullptr) return false;
  long head_bytes = 0;
  static_cast<void>(curl_.easy_getinfo(handle_.get(), CURLINFO_REQUEST_SIZE, &head_bytes));
  return head_bytes > 0 && body_sent_ == request_.body.size();
}

HttpAnswer CurlTransfer::failed(HttpFailure failure, std::string message) {
  answer_.failure = failure;
  answer_.message = std::move(message);
  answer_.was_sent = was_sent();
  return std::move(answer_);
}

HttpAnswer CurlTransfer::finish(CURLcode code) {
  if (is_too_long_) return failed(HttpFailure::kTooLong, "the answer is longer than expected");
  HttpFailure failure = failure_of(code);
  // libcurl says that it has no memory also when a header is longer than it permits.
  if (failure == HttpFailure::kLocal && was_sent()) failure = HttpFailure::kBroken;
  const std::string_view detail = error_text_.data();
  std::string message;
  if (failure != HttpFailure::kNone) {
    message = escaped_value(detail.empty() ? curl_.easy_strerror(code) : detail);
    const auto is_capital = [&](std::size_t at) {
      return at < message.size() && message[at] >= 'A' && message[at] <= 'Z';
    };
    // Not of "SSL certificate problem".
    if (is_capital(0) && !is_capital(1)) message[0] = static_cast<char>(message[0] - 'A' + 'a');
  }
  return failed(failure, std::move(message));
}

HttpAnswer CurlTransfer::time_out(std::string message) {
  return failed(HttpFailure::kTimedOut, std::move(message));
}

}  // namespace lamina::object_store
