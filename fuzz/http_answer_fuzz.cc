// Bytes that come back on a connection: never more is taken of them than may be, and what is wrong
// with them is said shortly.
//
// The answer is in the socket before the request is sent: it is written, and the writing end shut
// down, when the connection is checked. So no thread is needed, and nothing is waited for.
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include "base/shown_text.h"
#include "check.h"
#include "http/exchange.h"
#include "sys/fd.h"

namespace {

using namespace lamina;
using lamina::fuzz::check;

constexpr std::size_t kMaxAnswerBytes = 1024;

/// A socket that somebody may connect to, for as long as the process lives.
struct Listener {
  Listener() : path("/dev/shm/lamina-fuzz-http-" + std::to_string(::getpid())) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    fd = sys::Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ::unlink(path.c_str());
    check(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
    check(::listen(fd.get(), 1) == 0);
  }
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;
  Listener(Listener&&) = delete;
  Listener& operator=(Listener&&) = delete;
  ~Listener() { ::unlink(path.c_str()); }

  std::string path;
  sys::Fd fd;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Listener listener;
  sys::Fd peer;
  const auto answer_first = [&](int /*socket*/) -> Status {
    peer = sys::Fd(::accept4(listener.fd.get(), nullptr, nullptr, SOCK_CLOEXEC));
    check(::send(peer.get(), data, size, MSG_NOSIGNAL) == static_cast<ssize_t>(size));
    check(::shutdown(peer.get(), SHUT_WR) == 0);
    return {};
  };
  http::Patience patience;
  patience.timeout = std::chrono::seconds(5);
  patience.max_answer_bytes = kMaxAnswerBytes;
  const auto done =
      http::exchange(listener.path, {"POST", "/v1/pause", "{}"}, patience, answer_first);
  check(done.sent);
  if (done.answer) {
    check(done.answer->body.size() <= kMaxAnswerBytes);
    check(done.answer->status >= 0 && done.answer->status < 1000);
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
