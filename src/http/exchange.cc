#include "http/exchange.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>

#include "base/error.h"
#include "http/response_reader.h"

namespace lamina::http {
namespace {

using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::milliseconds;

/// How often Progress::interrupted() is called.
constexpr Milliseconds kInterruptCheckInterval{100};
/// Without Progress only events and the deadline end a wait. Fits the int of poll(2).
constexpr Milliseconds kLongestWait{std::chrono::hours(1)};

constexpr std::size_t kReceiveBytes = std::size_t{16} << 10;

bool can_be_sent(std::string_view word) {
  return std::ranges::all_of(word, [](char c) { return c > ' ' && c < '\x7f'; });
}

std::string text_of(const Request& request) {
  std::string text =
      fmt::format("{} {} HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n",
                  request.method, request.target);
  if (!request.body.empty()) {
    text += fmt::format("Content-Type: application/json\r\nContent-Length: {}\r\n",
                        request.body.size());
  }
  return text + "\r\n" + request.body;
}

/// A request in flight, and its response.
class Conversation {
 public:
  Conversation(int socket, std::string_view request, std::size_t max_response_bytes)
      : socket_(socket), request_(request), reader_(max_response_bytes) {}

  /// Sends as much as possible without waiting. receive() reports an error once nothing is left to
  /// read.
  void send();

  struct Ready {
    bool to_receive = false;  ///< call receive(): data is available, or sending has failed
    bool peer_ended = false;
  };
  /// Waits until more can be sent or received, or the process ends.
  [[nodiscard]] Result<Ready> wait(int pidfd, Milliseconds longest) const;

  /// Receives a piece of the response. True once it is complete.
  Result<bool> receive();

  [[nodiscard]] std::size_t sent_bytes() const { return sent_bytes_; }
  [[nodiscard]] bool sent_whole() const { return sent_bytes_ == request_.size(); }
  [[nodiscard]] bool was_closed_unanswered() const { return is_closed_ && !has_received_; }
  Response response() { return reader_.response(); }

 private:
  [[nodiscard]] bool may_send() const { return send_error_ == 0 && !sent_whole(); }

  int socket_;
  std::string_view request_;
  std::size_t sent_bytes_ = 0;
  int send_error_ = 0;
  bool is_closed_ = false;  ///< by the peer
  bool has_received_ = false;
  ResponseReader reader_;
};

void Conversation::send() {
  while (may_send()) {
    const std::string_view left = request_.substr(sent_bytes_);
    const ssize_t count = ::send(socket_, left.data(), left.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count >= 0) {
      sent_bytes_ += static_cast<std::size_t>(count);
    } else if (errno == EAGAIN) {
      return;
    } else if (errno != EINTR) {
      send_error_ = errno;
    }
  }
}

Result<Conversation::Ready> Conversation::wait(int pidfd, Milliseconds longest) const {
  const auto wanted = static_cast<short>(may_send() ? POLLIN | POLLOUT : POLLIN);
  std::array<pollfd, 2> events = {pollfd{socket_, wanted, 0}, pollfd{pidfd, POLLIN, 0}};
  const bool is_over = send_error_ != 0;
  const int wait_ms = is_over ? 0 : static_cast<int>(longest.count());
  if (::poll(events.data(), events.size(), wait_ms) < 0) {
    if (errno == EINTR) return Ready{};
    return system_failure("poll", "the connection", errno);
  }
  constexpr int kIn = POLLIN | POLLHUP | POLLERR | POLLNVAL;
  return Ready{is_over || (events[0].revents & kIn) != 0, events[1].revents != 0};
}

Result<bool> Conversation::receive() {
  std::array<char, kReceiveBytes> piece;  // NOLINT(cppcoreguidelines-pro-type-member-init)
  const ssize_t count = ::recv(socket_, piece.data(), piece.size(), MSG_DONTWAIT);
  const int error = count < 0 ? errno : 0;
  has_received_ = has_received_ || count > 0;
  if (count > 0) return reader_.take({piece.data(), static_cast<std::size_t>(count)});
  if (error == EINTR) return false;
  is_closed_ = count == 0 || error == ECONNRESET || send_error_ == EPIPE;
  // A peer that stops reading may still have replied: read first, then report the send error.
  if (send_error_ != 0) return system_failure("send", "the request", send_error_);
  if (error == EAGAIN) return false;
  if (error != 0) return system_failure("receive", "the response", error);
  LAMINA_RETURN_IF_ERROR(reader_.end());
  return true;
}

Result<Response> converse(Conversation& conversation, const WaitLimits& limits, bool& timed_out) {
  const Clock::time_point start = Clock::now();
  bool peer_ended = false;
  while (true) {
    conversation.send();
    if (limits.progress != nullptr && limits.progress->interrupted()) {
      return fail(ErrorKind::kInterrupted, "interrupted while waiting for the response");
    }
    const auto waited = std::chrono::duration_cast<Milliseconds>(Clock::now() - start);
    if (waited >= limits.timeout) {
      timed_out = true;
      return fail(ErrorKind::kFailed, "no response within {} ms", limits.timeout.count());
    }
    const Milliseconds longest =
        limits.progress != nullptr ? kInterruptCheckInterval : kLongestWait;
    LAMINA_ASSIGN_OR_RETURN(
        const Conversation::Ready ready,
        conversation.wait(limits.peer_pidfd, std::min(longest, limits.timeout - waited)));
    if (ready.to_receive) {
      LAMINA_ASSIGN_OR_RETURN(const bool whole, conversation.receive());
      if (whole) return conversation.response();
    } else if (peer_ended) {
      // Everything that it sent has been read. End of file on the socket is not sufficient, because
      // another process may hold a copy of it.
      return fail(ErrorKind::kFailed, "the process ended before it answered");
    } else {
      // It may have replied after the socket was polled: poll once more.
      peer_ended = ready.peer_ended;
    }
  }
}

}  // namespace

Exchange exchange(int socket, const Request& request, const WaitLimits& limits) {
  if (!can_be_sent(request.method) || !can_be_sent(request.target)) {
    return {.response = fail(ErrorKind::kUsage, "'{} {}' cannot be sent: percent-encode it",
                             request.method, request.target)};
  }
  const std::string text = text_of(request);
  Conversation conversation(socket, text, limits.max_response_bytes);
  Exchange done;
  done.response = converse(conversation, limits, done.timed_out);
  done.sent = conversation.sent_bytes() > 0;
  done.sent_whole = conversation.sent_whole();
  done.was_closed_unanswered = conversation.was_closed_unanswered();
  return done;
}

}  // namespace lamina::http
