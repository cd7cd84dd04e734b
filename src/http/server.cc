#include "http/server.h"

#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <boost/beast/http/status.hpp>
#include <cerrno>
#include <exception>
#include <string_view>
#include <utility>

#include "base/contain.h"
#include "base/error.h"

namespace lamina::http {
namespace {

constexpr std::size_t kPieceBytes = std::size_t{16} << 10;
/// Per call of run(), so that no client delays the others.
constexpr std::size_t kMaxEvents = 64;
constexpr int kMaxPiecesAtOnce = 8;
/// Read and discarded after an error response; closing earlier could destroy the response.
constexpr std::size_t kMaxDrainedBytes = std::size_t{1} << 20;

constexpr unsigned kInternalError = 500;
constexpr unsigned kUnavailable = 503;
constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";

/// The current time as RFC 9110 writes it.
std::string date() {
  static constexpr std::array kDays = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  static constexpr std::array kMonths = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  constexpr int kFirstYear = 1900;
  const time_t now = ::time(nullptr);
  tm fields{};
  ::gmtime_r(&now, &fields);
  return fmt::format("{}, {:02} {} {} {:02}:{:02}:{:02} GMT",
                     kDays.at(static_cast<std::size_t>(fields.tm_wday)), fields.tm_mday,
                     kMonths.at(static_cast<std::size_t>(fields.tm_mon)),
                     fields.tm_year + kFirstYear, fields.tm_hour, fields.tm_min, fields.tm_sec);
}

/// The head of a response. `connection` is the value of the Connection field; empty: none.
std::string head_of(const ServerResponse& response, const HeaderFields& fields,
                    std::string_view version, std::string_view connection) {
  const auto reason =
      boost::beast::http::obsolete_reason(boost::beast::http::int_to_status(response.status));
  std::string head =
      fmt::format("{} {} {}\r\nDate: {}\r\nContent-Length: {}\r\n", version, response.status,
                  std::string_view(reason.data(), reason.size()), date(), response.body.size());
  const auto add = [&head](std::string_view name, std::string_view value) {
    if (!value.empty()) head += fmt::format("{}: {}\r\n", name, value);
  };
  add("Content-Type", response.content_type);
  add("Allow", response.allow);
  for (const auto& [name, value] : fields) add(name, value);
  add("Connection", connection);
  return head + "\r\n";
}

ssize_t send_some(int socket, std::string_view text) {
  while (true) {
    const ssize_t count = ::send(socket, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count >= 0 || errno != EINTR) return count;
  }
}

ssize_t receive_some(int socket, std::array<char, kPieceBytes>& piece) {
  while (true) {
    const ssize_t count = ::recv(socket, piece.data(), piece.size(), MSG_DONTWAIT);
    if (count >= 0 || errno != EINTR) return count;
  }
}

}  // namespace

struct Server::Connection {
  enum class State : std::uint8_t {
    kReceiving,  ///< waits for a request, or for the rest of one
    kHandling,   ///< its request has no response yet
    kSending,
    kDraining,  ///< an error response was sent; the rest of the request is discarded
  };

  Connection(os::Fd fd, std::size_t from_listener, std::int64_t of_owner, const Options& options)
      : socket(std::move(fd)),
        listener(from_listener),
        owner(of_owner),
        reader(options.max_head_bytes, options.max_body_bytes) {}

  [[nodiscard]] bool is_busy() const {
    return state == State::kHandling || state == State::kSending;
  }

  os::Fd socket;
  std::size_t listener;
  std::int64_t owner;
  State state = State::kReceiving;
  Clock::time_point since;  ///< start of the current wait
  RequestReader reader;
  // Of the current request:
  bool is_http_1_0 = false;
  bool is_head = false;
  bool keeps_alive = false;
  bool is_rejected = false;
  std::string output;
  std::size_t sent_bytes = 0;
  std::size_t drained_bytes = 0;
};

Server::Server(Options options) : options_(std::move(options)) {}

Server::~Server() = default;

Result<std::unique_ptr<Server>> Server::create(Options options) {
  std::unique_ptr<Server> server(new Server(std::move(options)));
  LAMINA_RETURN_IF_ERROR(server->reopen());
  return server;
}

Status Server::reopen() {
  epoll_ = os::Fd(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll_.valid()) return system_failure("epoll_create", "the HTTP server", errno);
  return {};
}

void Server::close_copies() {
  // The epoll instance and the connections belong to the parent: no epoll_ctl(2), no shutdown(2).
  connections_.clear();
  epoll_.reset();
  open_ = 0;
  unanswered_ = 0;
  next_expiry_ = Clock::time_point::max();
}

bool Server::make_room(std::size_t listener, std::int64_t owner) {
  const ConnectionLimits& limits = options_.listeners.at(listener);
  std::size_t of_listener = 0;
  std::size_t of_owner = 0;
  for (const auto& [id, one] : connections_) {
    if (one.listener != listener) continue;
    ++of_listener;
    if (one.owner == owner) ++of_owner;
  }
  const bool owner_is_full = of_owner >= limits.max_connections_of_one_owner;
  if (!owner_is_full && of_listener < limits.max_connections) return true;
  auto idlest = connections_.end();
  for (auto one = connections_.begin(); one != connections_.end(); ++one) {
    const Connection& connection = one->second;
    if (connection.listener != listener || connection.is_busy()) continue;
    if (owner_is_full && connection.owner != owner) continue;
    if (idlest == connections_.end() || connection.since < idlest->second.since) idlest = one;
  }
  if (idlest == connections_.end()) return false;
  close(idlest);
  return true;
}

void Server::add(os::Fd socket, std::size_t listener, std::int64_t owner) {
  if (!make_room(listener, owner)) {
    return send_refusal(socket, error_response(kUnavailable, "too many connections"));
  }
  const ConnectionId id = ++last_id_;
  auto entry = connections_.end();
  try {
    entry = connections_.try_emplace(id, std::move(socket), listener, owner, options_).first;
  } catch (const std::exception&) {
    return;
  }
  const int fd = entry->second.socket.get();
  epoll_event event{};
  event.events = EPOLLIN | EPOLLONESHOT;
  event.data.u64 = id;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
    connections_.erase(entry);
    return;
  }
  ++open_;
  restart_wait(entry->second);
  if (stopping_) ::shutdown(fd, SHUT_RD);
}

void Server::run(const Handler& handle) {
  std::array<epoll_event, kMaxEvents> events{};
  const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), 0);
  for (int i = 0; i < count; ++i) {
    // A copy: epoll_event is packed, so a reference into it would not be aligned.
    const ConnectionId id = events.at(static_cast<std::size_t>(i)).data.u64;
    const auto entry = connections_.find(id);
    if (entry != connections_.end()) step(entry, handle);
  }
}

void Server::step(Entry entry, const Handler& handle) {
  const ConnectionId id = entry->first;
  try {
    switch (entry->second.state) {
      case Connection::State::kReceiving:
        return receive(entry, handle);
      case Connection::State::kSending:
        return send(entry);
      case Connection::State::kDraining:
        return drain(entry);
      case Connection::State::kHandling:
        return;
    }
  } catch (const std::exception&) {
    const auto found = connections_.find(id);
    if (found != connections_.end()) close(found);
  }
}

void Server::receive(Entry entry, const Handler& handle) {
  Connection& connection = entry->second;
  std::array<char, kPieceBytes> piece;  // NOLINT(cppcoreguidelines-pro-type-member-init)
  // A further request may have arrived with the last one.
  auto is_whole = connection.reader.take({});
  for (int i = 0; is_whole && !*is_whole; ++i) {
    if (i == kMaxPiecesAtOnce) return wait_for(entry, EPOLLIN);
    const ssize_t count = receive_some(connection.socket.get(), piece);
    if (count < 0 && errno == EAGAIN) {
      // The socket's buffer is empty: this fits.
      if (connection.reader.takes_continue()) send_some(connection.socket.get(), kContinue);
      return wait_for(entry, EPOLLIN);
    }
    if (count <= 0) return close(entry);
    is_whole = connection.reader.take({piece.data(), static_cast<std::size_t>(count)});
  }
  if (!is_whole) return reject(entry, is_whole.error());
  handle_request(entry, handle);
}

void Server::handle_request(Entry entry, const Handler& handle) {
  Connection& connection = entry->second;
  connection.is_http_1_0 = connection.reader.is_http_1_0();
  connection.keeps_alive = options_.keeps_alive && connection.reader.keeps_alive();
  const HeaderFields fields = options_.check ? connection.reader.fields() : HeaderFields();
  ServerRequest request = connection.reader.next();
  request.listener = connection.listener;
  connection.is_head = request.method == "HEAD";
  connection.state = Connection::State::kHandling;
  ++unanswered_;
  std::optional<ServerResponse> response;
  try {
    if (options_.check) response = options_.check(request, fields);
    if (!response) {
      response =
          stopping_ ? options_.stopping_response() : handle(entry->first, std::move(request));
    }
  } catch (const std::exception& exception) {
    response = error_response(kInternalError, exception.what());
  }
  if (response) start_response(entry, *response);
}

void Server::reject(Entry entry, const RequestError& error) {
  Connection& connection = entry->second;
  connection.state = Connection::State::kHandling;
  connection.is_head = false;
  connection.keeps_alive = false;
  connection.is_rejected = true;
  ++unanswered_;
  start_response(entry, error_response(error.status, error.message.c_str()));
}

void Server::respond(ConnectionId id, const ServerResponse& response) {
  const auto entry = connections_.find(id);
  if (entry == connections_.end()) return;
  try {
    start_response(entry, response);
  } catch (const std::exception&) {
    close(entry);
  }
}

void Server::start_response(Entry entry, const ServerResponse& response) {
  Connection& connection = entry->second;
  const bool tells_keep_alive = connection.keeps_alive && connection.is_http_1_0;
  std::string output =
      head_of(response, options_.response_fields, connection.is_http_1_0 ? "HTTP/1.0" : "HTTP/1.1",
              !connection.keeps_alive ? "close"
              : tells_keep_alive      ? "keep-alive"
                                      : "");
  if (!connection.is_head) output += response.body;
  connection.output = std::move(output);
  connection.sent_bytes = 0;
  connection.state = Connection::State::kSending;
  if (options_.count_response) options_.count_response(response.status);
  restart_wait(connection);
  send(entry);
}

void Server::send(Entry entry) {
  Connection& connection = entry->second;
  while (connection.sent_bytes < connection.output.size()) {
    const ssize_t count = send_some(
        connection.socket.get(), std::string_view(connection.output).substr(connection.sent_bytes));
    if (count < 0 && errno == EAGAIN) return wait_for(entry, EPOLLOUT);
    if (count < 0) return close(entry);
    connection.sent_bytes += static_cast<std::size_t>(count);
    restart_wait(connection);
  }
  finish_response(entry);
}

void Server::finish_response(Entry entry) {
  Connection& connection = entry->second;
  connection.output = {};
  if (connection.is_rejected && !stopping_) {
    --unanswered_;
    ::shutdown(connection.socket.get(), SHUT_WR);
    connection.state = Connection::State::kDraining;
    return wait_for(entry, EPOLLIN);
  }
  if (!connection.keeps_alive) return close(entry);
  --unanswered_;
  connection.state = Connection::State::kReceiving;
  restart_wait(connection);
  if (stopping_) ::shutdown(connection.socket.get(), SHUT_RD);
  // A writable socket makes run() look at the bytes that were received with the last request.
  wait_for(entry, connection.reader.has_bytes() ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

void Server::drain(Entry entry) {
  Connection& connection = entry->second;
  std::array<char, kPieceBytes> piece;  // NOLINT(cppcoreguidelines-pro-type-member-init)
  for (int i = 0; i < kMaxPiecesAtOnce; ++i) {
    const ssize_t count = receive_some(connection.socket.get(), piece);
    if (count < 0 && errno == EAGAIN) break;
    if (count <= 0) return close(entry);
    connection.drained_bytes += static_cast<std::size_t>(count);
    if (connection.drained_bytes > kMaxDrainedBytes) return close(entry);
  }
  wait_for(entry, EPOLLIN);
}

void Server::wait_for(Entry entry, std::uint32_t events) {
  epoll_event event{};
  event.events = events | EPOLLONESHOT;
  event.data.u64 = entry->first;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, entry->second.socket.get(), &event) != 0) {
    close(entry);
  }
}

void Server::close(Entry entry) {
  // A child that was just forked may hold a copy: closing alone would leave it in the epoll set.
  static_cast<void>(::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, entry->second.socket.get(), nullptr));
  if (entry->second.is_busy()) --unanswered_;
  connections_.erase(entry);
  --open_;
}

void Server::stop_requests() {
  stopping_ = true;
  for (auto entry = connections_.begin(); entry != connections_.end();) {
    const auto one = entry++;
    if (one->second.state == Connection::State::kDraining) {
      close(one);
    } else if (one->second.state == Connection::State::kReceiving) {
      // What was sent before stays in the socket and is read by run().
      ::shutdown(one->second.socket.get(), SHUT_RD);
    }
  }
}

void Server::restart_wait(Connection& connection) {
  connection.since = Clock::now();
  if (const auto end = deadline(connection)) next_expiry_ = std::min(next_expiry_, *end);
}

std::optional<Server::Clock::time_point> Server::deadline(const Connection& connection) const {
  switch (connection.state) {
    case Connection::State::kReceiving:
    case Connection::State::kDraining:
      return connection.since + options_.request_timeout;
    case Connection::State::kSending:
      return connection.since + options_.send_timeout;
    case Connection::State::kHandling:
      break;
  }
  return std::nullopt;
}

int Server::expire() {
  const Clock::time_point now = Clock::now();
  if (now >= next_expiry_) {
    next_expiry_ = Clock::time_point::max();
    for (auto entry = connections_.begin(); entry != connections_.end();) {
      const auto one = entry++;
      const auto end = deadline(one->second);
      if (!end) continue;
      if (*end <= now) {
        close(one);
      } else {
        next_expiry_ = std::min(next_expiry_, *end);
      }
    }
  }
  if (next_expiry_ == Clock::time_point::max()) return -1;
  constexpr std::chrono::hours kLongest{1};
  const auto left = std::min<Clock::duration>(next_expiry_ - now, kLongest);
  return static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(left).count()) + 1;
}

ServerResponse Server::error_response(unsigned status, const char* message) const noexcept {
  try {
    return options_.error_response(status, message);
  } catch (const std::exception&) {
    return {status, {}, {}, {}};
  }
}

void send_refusal(const os::Fd& socket, const ServerResponse& response) noexcept {
  static_cast<void>(contain("refusal", [&]() -> Status {
    send_some(socket.get(), head_of(response, {}, "HTTP/1.1", "close") + response.body);
    return {};
  }));
}

}  // namespace lamina::http
