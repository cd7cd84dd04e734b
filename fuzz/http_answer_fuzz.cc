// Bytes that come back on a connection: never more is taken of them than may be, and what is wrong
// with them is said shortly.
//
// The answer is in the socket before the request is sent. So no thread is needed, and nothing is
// waited for.
#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/escape.h"
#include "check.h"
#include "http/exchange.h"
#include "os/fd.h"

namespace {

using namespace lamina;
using lamina::fuzz::check;

constexpr std::size_t kMaxAnswerBytes = 1024;

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::array<int, 2> ends{};
  check(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0);
  const os::Fd ours(ends[0]);
  const os::Fd peer(ends[1]);
  check(::send(peer.get(), data, size, MSG_NOSIGNAL) == static_cast<ssize_t>(size));
  check(::shutdown(peer.get(), SHUT_WR) == 0);
  http::WaitLimits limits;
  limits.timeout = std::chrono::seconds(5);
  limits.max_response_bytes = kMaxAnswerBytes;
  const auto done = http::exchange(ours.get(), {"POST", "/v1/pause", "{}"}, limits);
  check(done.sent);
  if (done.response) {
    check(done.response->body.size() <= kMaxAnswerBytes);
    check(done.response->status >= 100 && done.response->status < 1000);
    return 0;
  }
  const Error& error = done.response.error();
  constexpr std::size_t kMaxMessageBytes = 200;
  check(error.kind == ErrorKind::kFailed);
  check(!error.message.empty() && error.message.size() <= kMaxMessageBytes);
  check(escaped_line(error.message) == error.message);
  check(error.message.find("no response within") == std::string::npos);
  return 0;
}
