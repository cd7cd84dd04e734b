#include "server/metrics_socket.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <optional>

#include "base/contain.h"
#include "base/error.h"
#include "lamina/serve.h"
#include "os/peer.h"
#include "os/unix_socket.h"

namespace lamina::server {
namespace {

/// Clients that wait. One process has a part of them, so that it cannot keep out others.
constexpr std::size_t kMaxClients = 64;
constexpr std::ptrdiff_t kMaxOfOneProcess = 8;
/// A client that has sent no request by then is hung up on.
constexpr std::chrono::seconds kRequestTime{10};
constexpr std::size_t kRequestBytes = 4096;
constexpr std::size_t kMaxAnswerBytes = std::size_t{1} << 20;

void answer(int client, const std::string& metrics) {
  const std::string text = fmt::format(
      "HTTP/1.0 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\n\r\n{}",
      metrics.size(), metrics);
  // It fits a socket's buffer; a client that has filled its own gets what is left of it.
  static_cast<void>(::send(client, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT));
}

}  // namespace

Result<MetricsSocket> MetricsSocket::create(const std::string& path, Listener inherited,
                                            os::ReplaceSocket replace) {
  if (!inherited.valid()) {
    LAMINA_ASSIGN_OR_RETURN(inherited, Listener::bind(path, {.group = {}, .replace = replace}));
  }
  inherited.set_path_if_unknown(path);
  MetricsSocket socket(path, std::move(inherited));
  LAMINA_RETURN_IF_ERROR(socket.resume());
  return socket;
}

Status MetricsSocket::resume() {
  epoll_ = os::Fd(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll_.valid()) return system_failure("epoll_create", path_, errno);
  return {};
}

void MetricsSocket::handle(const std::function<std::string()>& metrics) {
  answer_requests(metrics);
  // A bounded number at once: the caller has more to do than to answer metrics.
  for (std::size_t i = 0; i < kMaxClients; ++i) {
    auto client = os::accept_connection(listener_.fd(), path_);
    if (!client || !*client) break;
    const auto peer = os::peer_of((*client)->get());
    const pid_t process = peer ? peer->pid : -1;
    make_room_for(process);
    const int fd = (*client)->get();
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0) {
      clients_.push_back({std::move(**client), process, Clock::now()});
    }
    // Before it could have to make room.
    answer_requests(metrics);
  }
}

void MetricsSocket::answer_requests(const std::function<std::string()>& metrics) {
  std::array<epoll_event, kMaxClients> events{};
  const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), 0);
  for (int i = 0; i < count; ++i) {
    const int fd = events[static_cast<std::size_t>(i)].data.fd;
    std::array<char, kRequestBytes> request{};
    if (::recv(fd, request.data(), request.size(), MSG_DONTWAIT) > 0) answer(fd, metrics());
    forget(fd);
  }
}

void MetricsSocket::make_room_for(pid_t process) {
  const auto is_its = [process](const Client& one) { return one.process == process; };
  const bool has_its_part =
      std::count_if(clients_.begin(), clients_.end(), is_its) >= kMaxOfOneProcess;
  if (!has_its_part && clients_.size() < kMaxClients) return;
  const auto oldest =
      has_its_part ? std::find_if(clients_.begin(), clients_.end(), is_its) : clients_.begin();
  forget(oldest->connection.get());
}

int MetricsSocket::expire() {
  const Clock::time_point now = Clock::now();
  while (!clients_.empty() && now - clients_.front().since >= kRequestTime) {
    forget(clients_.front().connection.get());
  }
  if (clients_.empty()) return -1;
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(clients_.front().since +
                                                                          kRequestTime - now);
  return static_cast<int>(left.count()) + 1;
}

void MetricsSocket::forget(int client) {
  // A serving process that was just forked may hold it open for a moment longer.
  static_cast<void>(::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, client, nullptr));
  clients_.remove_if([client](const Client& one) { return one.connection.get() == client; });
}

void MetricsSocket::forget_clients() {
  clients_.clear();
  epoll_.reset();
}

}  // namespace lamina::server

namespace lamina {
namespace {

using Wait = std::optional<std::chrono::milliseconds>;

/// For the answer of a server that lives.
constexpr std::chrono::seconds kAnswerTime{10};

/// What the socket answers; nothing when the server closed the connection first. kBusy when it has
/// let `wait` pass.
Result<std::string> ask_once(const std::string& metrics_socket, Wait wait) {
  LAMINA_ASSIGN_OR_RETURN(const os::Fd socket, os::connect_to(metrics_socket, wait));
  constexpr std::string_view kRequest = "GET /metrics HTTP/1.0\r\n\r\n";
  std::string text;
  if (wait) LAMINA_RETURN_IF_ERROR(os::limit_receiving(socket.get(), *wait));
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

Result<std::string> read_serve_metrics(const std::string& metrics_socket) {
  return contain("metrics", [&]() -> Result<std::string> {
    const auto answer = ask(metrics_socket, kAnswerTime);
    if (!answer && answer.error().kind == ErrorKind::kBusy) {
      return fail(ErrorKind::kBusy, "the page server at '{}' has not answered within {} s",
                  metrics_socket, kAnswerTime.count());
    }
    if (!answer) return std::unexpected(answer.error());
    const std::string& text = *answer;
    const std::size_t body = text.find("\r\n\r\n");
    if (!text.starts_with("HTTP/1.0 200 ") || body == std::string::npos) {
      return fail(ErrorKind::kFailed, "the socket '{}' is not a metrics socket of lamina",
                  metrics_socket);
    }
    return text.substr(body + 4);
  });
}

}  // namespace lamina
