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

#include "base/shown_text.h"
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
  http::Patience patience;
  patience.timeout = std::chrono::seconds(5);
  patience.max_answer_bytes = kMaxAnswerBytes;
  const auto done = http::exchange(ours.get(), {"POST", "/v1/pause", "{}"}, patience);
  check(done.sent);
  if (done.answer) {
    check(done.answer->body.size() <= kMaxAnswerBytes);
    check(done.answer->status >= 100 && done.answer->status < 1000);
    return 0;
  }
  const Error& error = done.answer.error();
  constexpr std::size_t kMaxMessageBytes = 200;
  check(error.kind == ErrorKind::kFailed);
  check(!error.message.empty() && error.message.size() <= kMaxMessageBytes);
  check(shown_line(error.message) == error.message);
  check(error.message.find("no answer within") == std::string::npos);
  return 0;
}
