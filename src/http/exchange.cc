#include "http/exchange.h"

#include <curl/curl.h>
#include <sys/socket.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "base/error.h"
#include "sys/unix_socket.h"

namespace lamina::http {
namespace {

using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::milliseconds;

/// How often somebody who may want to stop is asked.
constexpr Milliseconds kAskEvery{100};
/// Otherwise events and the deadline alone end a wait; poll(2) wants an int.
constexpr Milliseconds kLongestWait{std::chrono::hours(1)};

struct FreeEasy {
  void operator()(CURL* easy) const { curl_easy_cleanup(easy); }
};
struct FreeMulti {
  void operator()(CURLM* multi) const { static_cast<void>(curl_multi_cleanup(multi)); }
};
struct FreeList {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};
using Easy = std::unique_ptr<CURL, FreeEasy>;
using Multi = std::unique_ptr<CURLM, FreeMulti>;
using Headers = std::unique_ptr<curl_slist, FreeList>;

/// What has arrived.
struct Arrived {
  std::string body;
  std::size_t head_bytes = 0;
  bool head_is_whole = false;
  std::optional<long> status;  ///< of the last head
  bool is_http_1 = true;       ///< all status lines are such
  bool is_too_large = false;
  std::size_t max_bytes = kMaxAnswerBytes;
};

/// The status of "HTTP/1.1 204", with a reason or without. libcurl, told to speak version 1, takes
/// also "HTTP/2" and whatever number follows as the status.
std::optional<long> read_status_line(std::string_view line) {
  constexpr std::string_view kPattern = "HTTP/1.d ddd";  // d: a digit
  if (line.size() < kPattern.size()) return std::nullopt;
  long number = 0;  // in the end, the digits of the version and the status
  for (std::size_t i = 0; i < kPattern.size(); ++i) {
    const bool is_digit = line[i] >= '0' && line[i] <= '9';
    if (kPattern[i] == 'd' ? !is_digit : line[i] != kPattern[i]) return std::nullopt;
    if (is_digit) number = number * 10 + (line[i] - '0');
  }
  const std::string_view rest = line.substr(kPattern.size());
  if (!rest.empty() && std::string_view(" \r\n").find(rest.front()) == std::string_view::npos) {
    return std::nullopt;
  }
  return number % 1000;
}

/// One line of the head, of one of several heads (100 Continue), or a trailer.
std::size_t take_head_line(const char* data, std::size_t size, std::size_t count, void* context) {
  auto& arrived = *static_cast<Arrived*>(context);
  const std::string_view line(data, size * count);
  arrived.head_bytes += line.size();
  // libcurl does not mind an end of file within the head; we do.
  if (line.starts_with("HTTP/")) {
    arrived.head_is_whole = false;
    arrived.status = read_status_line(line);
    arrived.is_http_1 = arrived.is_http_1 && arrived.status.has_value();
  }
  if (line == "\r\n" || line == "\n") arrived.head_is_whole = true;
  arrived.is_too_large = arrived.head_bytes > arrived.max_bytes;
  return arrived.is_too_large ? 0 : line.size();
}

std::size_t take_body(const char* data, std::size_t size, std::size_t count, void* context) {
  auto& arrived = *static_cast<Arrived*>(context);
  const std::size_t bytes = size * count;
  arrived.is_too_large = bytes > arrived.max_bytes - arrived.body.size();
  if (arrived.is_too_large) return 0;
  arrived.body.append(data, bytes);
  return bytes;
}

/// A connection on its way to a request.
struct Connecting {
  const ConnectionCheck& check;
  int socket = -1;
  bool may_send = false;
  bool sending_failed = false;
  Status checked{};
};

curl_socket_t open_socket(void* context, curlsocktype /*purpose*/, curl_sockaddr* address) {
  auto& connecting = *static_cast<Connecting*>(context);
  connecting.socket =
      ::socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
  return connecting.socket;
}

/// Called when the connection is made and before anything is sent. (Giving libcurl a connection
/// that we made and checked would be simpler, but 7.88 connects it once more.)
int before_request(void* context, char* /*peer*/, char* /*local*/, int /*peer_port*/,
                   int /*local_port*/) {
  auto& connecting = *static_cast<Connecting*>(context);
  connecting.checked = connecting.check(connecting.socket);
  connecting.may_send = connecting.checked.has_value();
  return connecting.may_send ? CURL_PREREQFUNC_OK : CURL_PREREQFUNC_ABORT;
}

Headers make_headers(bool with_body) {
  curl_slist* list = nullptr;
  const auto add = [&](const char* line) {
    if (curl_slist* longer = curl_slist_append(list, line)) list = longer;
  };
  add("Accept: application/json");
  add("Expect:");  // a body is sent at once, whatever its size
  if (with_body) add("Content-Type: application/json");
  return Headers(list);
}

// NOLINTBEGIN(cppcoreguidelines-pro-type-vararg): libcurl's interface

/// What is the same for all requests: plain HTTP/1.1 on our connection, nothing from the
/// environment (proxies), no signals.
void set_transport(CURL* easy, const std::string& path, Connecting& connecting, Arrived& arrived) {
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_PROXY, "");
  curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  curl_easy_setopt(easy, CURLOPT_HTTP09_ALLOWED, 0L);
  curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
  curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, path.c_str());
  curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, &open_socket);
  curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, &connecting);
  curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, &before_request);
  curl_easy_setopt(easy, CURLOPT_PREREQDATA, &connecting);
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, &take_head_line);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, &arrived);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &take_body);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, &arrived);
}

/// REQUIRES: `request` and `headers` outlive the transfer.
void set_request(CURL* easy, const Request& request, curl_slist* headers) {
  const std::string url = fmt::format("http://localhost{}", request.target);
  const std::string method(request.method);
  curl_easy_setopt(easy, CURLOPT_URL, url.c_str());
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
  if (!request.body.empty()) {
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE,
                     static_cast<curl_off_t>(request.body.size()));
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request.body.data());
  }
  curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method.c_str());
}

long status_of(CURL* easy) {
  long status = 0;
  curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
  return status;
}

// NOLINTEND(cppcoreguidelines-pro-type-vararg)

/// True when something can be read or written on the connection without waiting.
bool has_more(CURLM* multi) {
  int ready = 0;
  return curl_multi_poll(multi, nullptr, 0, 0, &ready) == CURLM_OK && ready > 0;
}

/// How the transfer ended, if it did.
std::optional<CURLcode> ending(CURLM* multi) {
  int left = 0;
  while (const CURLMsg* message = curl_multi_info_read(multi, &left)) {
    if (message->msg == CURLMSG_DONE) return message->data.result;
  }
  return std::nullopt;
}

/// Waits for something to do. True when the peer has ended.
Result<bool> wait(CURLM* multi, int peer_pidfd, Milliseconds longest) {
  curl_waitfd peer{peer_pidfd, CURL_WAIT_POLLIN, 0};
  const CURLMcode code =
      curl_multi_poll(multi, &peer, 1, static_cast<int>(longest.count()), nullptr);
  if (code != CURLM_OK) {
    return fail(ErrorKind::kFailed, "cannot wait: {}", curl_multi_strerror(code));
  }
  return peer.revents != 0;
}

/// Success when the transfer ended, whatever its result; else why the wait for it did.
Result<CURLcode> run(CURLM* multi, const Patience& patience) {
  const Clock::time_point start = Clock::now();
  bool peer_ended = false;
  while (true) {
    int running = 0;
    const CURLMcode code = curl_multi_perform(multi, &running);
    if (code != CURLM_OK) return fail(ErrorKind::kFailed, "{}", curl_multi_strerror(code));
    if (const auto result = ending(multi)) return *result;
    // What it sent before it ended is read. The socket alone would not do: another process may
    // hold a copy of it.
    if (peer_ended && !has_more(multi)) {
      return fail(ErrorKind::kFailed, "the process ended before it answered");
    }
    if (patience.progress != nullptr && patience.progress->interrupted()) {
      return fail(ErrorKind::kInterrupted, "interrupted while waiting for the answer");
    }
    const auto waited = std::chrono::duration_cast<Milliseconds>(Clock::now() - start);
    if (waited >= patience.timeout) {
      return fail(ErrorKind::kFailed, "no answer within {} ms", patience.timeout.count());
    }
    if (peer_ended) continue;
    const Milliseconds longest = patience.progress != nullptr ? kAskEvery : kLongestWait;
    LAMINA_ASSIGN_OR_RETURN(
        peer_ended, wait(multi, patience.peer_pidfd, std::min(longest, patience.timeout - waited)));
  }
}

bool start_libcurl() {
  static const bool started = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
  return started;
}

/// A transfer is taken out of its multi handle before either goes.
class Transfer {
 public:
  static Result<Transfer> create() {
    if (!start_libcurl()) return fail(ErrorKind::kFailed, "libcurl cannot be initialized");
    Transfer transfer;
    transfer.easy_.reset(curl_easy_init());
    transfer.multi_.reset(curl_multi_init());
    if (!transfer.easy_ || !transfer.multi_) {
      return fail(ErrorKind::kFailed, "libcurl has no memory");
    }
    return transfer;
  }
  Transfer(Transfer&&) = default;
  Transfer& operator=(Transfer&&) = delete;
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;
  ~Transfer() {
    if (easy_ && multi_) curl_multi_remove_handle(multi_.get(), easy_.get());
  }

  Result<CURLcode> run_to_end(const Patience& patience) {
    const CURLMcode code = curl_multi_add_handle(multi_.get(), easy_.get());
    if (code != CURLM_OK) return fail(ErrorKind::kFailed, "{}", curl_multi_strerror(code));
    return run(multi_.get(), patience);
  }
  [[nodiscard]] CURL* easy() const { return easy_.get(); }

 private:
  Transfer() = default;
  Multi multi_;
  Easy easy_;
};

/// The answer when it has arrived whole, else what is wrong with it.
Result<Answer> whole_answer(CURLcode result, long status, Arrived& arrived) {
  if (arrived.is_too_large) {
    return fail(ErrorKind::kFailed, "the answer has more than {} bytes", arrived.max_bytes);
  }
  if (result != CURLE_OK) {
    return fail(ErrorKind::kFailed, "no whole answer: {}", curl_easy_strerror(result));
  }
  if (!arrived.head_is_whole) {
    return fail(ErrorKind::kFailed, "the connection was closed within the answer's head");
  }
  // libcurl's number is that of a head that it took for the last one.
  if (!arrived.is_http_1 || arrived.status != status) {
    return fail(ErrorKind::kFailed, "the answer does not begin with a status of HTTP/1.1");
  }
  return Answer{status, std::move(arrived.body)};
}

Result<Answer> send_and_receive(const std::string& path, const Request& request,
                                const Patience& patience, Connecting& connecting) {
  LAMINA_ASSIGN_OR_RETURN(const sys::ShortPath name, sys::shorten(path));
  Arrived arrived;
  arrived.max_bytes = patience.max_answer_bytes;
  const Headers headers = make_headers(!request.body.empty());
  LAMINA_ASSIGN_OR_RETURN(Transfer transfer, Transfer::create());
  set_transport(transfer.easy(), name.path, connecting, arrived);
  set_request(transfer.easy(), request, headers.get());
  LAMINA_ASSIGN_OR_RETURN(const CURLcode result, transfer.run_to_end(patience));
  connecting.sending_failed = result == CURLE_SEND_ERROR;
  LAMINA_RETURN_IF_ERROR(connecting.checked);
  return whole_answer(result, status_of(transfer.easy()), arrived);
}

}  // namespace

Exchange exchange(const std::string& path, const Request& request, const Patience& patience,
                  const ConnectionCheck& check) {
  Connecting connecting{.check = check};
  Exchange done;
  done.answer = send_and_receive(path, request, patience, connecting);
  done.sent = connecting.may_send;
  done.sent_whole = connecting.may_send && !connecting.sending_failed;
  return done;
}

}  // namespace lamina::http
