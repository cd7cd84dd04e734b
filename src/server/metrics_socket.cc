#include "server/metrics_socket.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <optional>

#include "base/contain.h"
#include "base/error.h"
#include "lamina/serve.h"
#include "sys/unix_socket.h"

namespace lamina::server {
namespace {

/// Clients that wait; the one that has waited longest makes room for the next.
constexpr std::size_t kMaxClients = 64;
constexpr std::size_t kRequestBytes = 4096;
constexpr std::size_t kMaxAnswerBytes = std::size_t{1} << 20;
/// A server that has not answered by then is busy.
constexpr std::chrono::seconds kAnswerTime{10};

void answer(int client, const std::string& metrics) {
  const std::string text = fmt::format(
      "HTTP/1.0 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\n\r\n{}",
      metrics.size(), metrics);
  // It fits a socket's buffer; a client that has filled its own gets what is left of it.
  static_cast<void>(::send(client, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT));
}

}  // namespace

Result<MetricsSocket> MetricsSocket::create(const std::string& path, sys::Fd inherited,
                                            sys::AtPath at_path) {
  if (!inherited.valid()) {
    sys::SocketAccess access;
    access.at_path = at_path;
    LAMINA_ASSIGN_OR_RETURN(inherited, sys::listen_at(path, access));
  }
  MetricsSocket socket(path, std::move(inherited));
  socket.epoll_ = sys::Fd(::epoll_create1(EPOLL_CLOEXEC));
  if (!socket.epoll_.valid()) return system_failure("epoll_create", path, errno);
  return socket;
}

void MetricsSocket::handle(const std::function<std::string()>& metrics) {
  answer_those_who_asked(metrics);
  // A bounded number at once: others than those who ask for metrics wait too.
  for (std::size_t i = 0; i < kMaxClients; ++i) {
    auto client = sys::accept_connection(listening_.get(), path_);
    if (!client || !*client) break;
    if (clients_.size() >= kMaxClients) forget(clients_.front().get());
    const int fd = (*client)->get();
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0) {
      clients_.push_back(std::move(**client));
    }
    // Before it could have to make room.
    answer_those_who_asked(metrics);
  }
}

void MetricsSocket::answer_those_who_asked(const std::function<std::string()>& metrics) {
  std::array<epoll_event, kMaxClients> events{};
  const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), 0);
  for (int i = 0; i < count; ++i) {
    const int fd = events[static_cast<std::size_t>(i)].data.fd;
    std::array<char, kRequestBytes> request{};
    if (::recv(fd, request.data(), request.size(), MSG_DONTWAIT) > 0) answer(fd, metrics());
    forget(fd);
  }
}

void MetricsSocket::forget(int client) {
  // A serving process that was just forked may hold it open for a moment longer.
  static_cast<void>(::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, client, nullptr));
  clients_.remove_if([client](const sys::Fd& one) { return one.get() == client; });
}

void MetricsSocket::forget_clients() {
  clients_.clear();
  epoll_.reset();
}

void MetricsSocket::remove() { ::unlink(path_.c_str()); }

}  // namespace lamina::server

namespace lamina {
namespace {

using Wait = std::optional<std::chrono::milliseconds>;

/// What the socket answers; nothing when the server closed the connection first. kBusy when it has
/// let `wait` pass.
Result<std::string> ask_once(const std::string& metrics_socket, Wait wait) {
  LAMINA_ASSIGN_OR_RETURN(const sys::Fd socket, sys::connect_to(metrics_socket, wait));
  constexpr std::string_view kRequest = "GET /metrics HTTP/1.0\r\n\r\n";
  std::string text;
  if (wait) LAMINA_RETURN_IF_ERROR(sys::limit_receiving(socket.get(), *wait));
  if (::send(socket.get(), kRequest.data(), kRequest.size(), MSG_NOSIGNAL) < 0) {
    if (errno == EPIPE || errno == ECONNRESET) return text;
    return system_failure("send", metrics_socket, errno);
  }
  std::array<char, 4096> buffer{};
  while (text.size() < server::kMaxAnswerBytes) {
    const ssize_t count = ::recv(socket.get(), buffer.data(), buffer.size(), 0);
    if (count < 0 && errno == EINTR) continue;
    if (count == 0 || (count < 0 && errno == ECONNRESET)) break;
    if (count < 0) return system_failure("receive", metrics_socket, errno);
    text.append(buffer.data(), static_cast<std::size_t>(count));
  }
  return text;
}

Result<std::string> ask(const std::string& metrics_socket, Wait wait) {
  // A crowd of others that ask may push one out: it comes again.
  constexpr int kAttempts = 20;
  std::string text;
  for (int i = 0; i < kAttempts && text.empty(); ++i) {
    LAMINA_ASSIGN_OR_RETURN(text, ask_once(metrics_socket, wait));
  }
  return text;
}

}  // namespace

bool server::answers_at(const std::string& metrics_socket) {
  const auto answer = ask(metrics_socket, kAnswerTime);
  return answer ? !answer->empty() : answer.error().kind == ErrorKind::kBusy;
}

Result<std::string> read_serve_metrics(const std::string& metrics_socket) {
  return contain("metrics", [&]() -> Result<std::string> {
    LAMINA_ASSIGN_OR_RETURN(const std::string text, ask(metrics_socket, std::nullopt));
    const std::size_t body = text.find("\r\n\r\n");
    if (!text.starts_with("HTTP/1.0 200 ") || body == std::string::npos) {
      return fail(ErrorKind::kFailed, "what listens at '{}' is no metrics socket of lamina",
                  metrics_socket);
    }
    return text.substr(body + 4);
  });
}

}  // namespace lamina
