#include "daemon/http_server.h"

#include <fmt/format.h>
#include <microhttpd.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <charconv>
#include <cstring>
#include <exception>
#include <utility>

#include "base/contain.h"
#include "base/error.h"

namespace lamina::daemon {
namespace {

constexpr std::size_t kQuickWorkers = 4;
/// Head and buffers of one connection: what bounds the size of a head.
constexpr std::size_t kConnectionBytes = std::size_t{32} << 10;
/// For writing an answer to a client that does not read.
constexpr unsigned kIdleSeconds = 60;

int fd_of(MHD_Connection* connection) {
  const auto* info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
  return info == nullptr ? -1 : info->connect_fd;
}

enum MHD_Result add_argument(void* context, enum MHD_ValueKind /*kind*/, const char* key,
                             const char* value) {
  auto& query = *static_cast<std::map<std::string, std::string>*>(context);
  query[key] = value == nullptr ? "" : value;
  return MHD_YES;
}

/// What Content-Length says; 0 when there is none that can be read.
std::uint64_t announced_bytes(MHD_Connection* connection) {
  const char* text = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Content-Length");
  std::uint64_t bytes = 0;
  if (text != nullptr) std::from_chars(text, text + std::strlen(text), bytes);
  return bytes;
}

/// Connections, with some that were cut off a moment ago.
std::size_t most_descriptors(const HttpServer::Options& options) {
  constexpr std::size_t kCutOff = 256;
  return options.max_connections + options.max_metrics_connections + kCutOff;
}

/// The words for which libmicrohttpd is not needed: a connection that is not taken at all.
void refuse_connection(const os::Fd& connection, const Response& response) {
  const std::string text = fmt::format(
      "HTTP/1.1 {} Refused\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n"
      "{}",
      response.status, response.content_type, response.body.size(), response.body);
  static_cast<void>(
      ::send(connection.get(), text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT));
}

}  // namespace

struct HttpServer::Exchange {
  enum class State : std::uint8_t { kHead, kBody, kWorking, kDone };

  Request request;
  State state = State::kHead;
  bool counted = false;
  Response response;
};

/// What libmicrohttpd calls, from its thread.
struct Callbacks {
  static enum MHD_Result access(void* context, MHD_Connection* connection, const char* url,
                                const char* method, const char* /*version*/, const char* data,
                                std::size_t* size, void** slot) {
    auto& server = *static_cast<HttpServer*>(context);
    try {
      if (*slot == nullptr) {
        auto exchange = std::make_unique<HttpServer::Exchange>();
        exchange->request.path = url;
        exchange->request.method = method;
        *slot = exchange.release();
      }
      auto& exchange = *static_cast<HttpServer::Exchange*>(*slot);
      return static_cast<enum MHD_Result>(server.take(connection, exchange, data, size));
    } catch (const std::exception&) {
      return MHD_NO;
    }
  }

  static void completed(void* context, MHD_Connection* connection, void** slot,
                        enum MHD_RequestTerminationCode /*how*/) {
    auto& server = *static_cast<HttpServer*>(context);
    server.completed(connection, std::unique_ptr<HttpServer::Exchange>(
                                     static_cast<HttpServer::Exchange*>(*slot)));
    *slot = nullptr;
  }

  static void connection(void* context, MHD_Connection* connection, void** /*slot*/,
                         enum MHD_ConnectionNotificationCode what) {
    if (what != MHD_CONNECTION_NOTIFY_CLOSED) return;
    static_cast<HttpServer*>(context)->forget(fd_of(connection));
  }
};

HttpServer::HttpServer(Options options)
    : options_(std::move(options)),
      quick_(std::make_unique<WorkerPool>(kQuickWorkers, kQuickWorkers, options_.max_queued)),
      long_(std::make_unique<WorkerPool>(options_.long_workers, options_.max_connections,
                                         options_.max_queued)) {}

Result<std::unique_ptr<HttpServer>> HttpServer::start(Options options) {
  std::unique_ptr<HttpServer> server(new HttpServer(std::move(options)));
  server->daemon_ = MHD_start_daemon(
      MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_NO_LISTEN_SOCKET |
          MHD_USE_ITC,
      0, nullptr, nullptr, &Callbacks::access, server.get(), MHD_OPTION_NOTIFY_COMPLETED,
      &Callbacks::completed, server.get(), MHD_OPTION_NOTIFY_CONNECTION, &Callbacks::connection,
      server.get(), MHD_OPTION_CONNECTION_LIMIT,
      static_cast<unsigned>(most_descriptors(server->options_)), MHD_OPTION_CONNECTION_MEMORY_LIMIT,
      kConnectionBytes, MHD_OPTION_CONNECTION_TIMEOUT, kIdleSeconds, MHD_OPTION_END);
  if (server->daemon_ == nullptr) {
    return fail(ErrorKind::kFailed,
                "the HTTP server does not start; see the limits on threads "
                "and open files");
  }
  return server;
}

HttpServer::~HttpServer() {
  quick_.reset();
  long_.reset();
  if (daemon_ != nullptr) MHD_stop_daemon(daemon_);
}

bool HttpServer::make_room(Door door, std::uint32_t user) {
  std::size_t at_door = 0;
  std::size_t of_user = 0;
  for (const auto& [fd, client] : clients_) {
    if (client.cut_off || client.door != door) continue;
    ++at_door;
    if (client.user == user) ++of_user;
  }
  const bool is_metrics = door == Door::kMetrics;
  const bool has_share = !is_metrics && of_user >= options_.max_connections_of_one_user;
  const std::size_t limit =
      is_metrics ? options_.max_metrics_connections : options_.max_connections;
  if (!has_share && at_door < limit) return true;
  // Those that were cut off and are not closed yet are descriptors, too.
  if (clients_.size() >= most_descriptors(options_)) return false;
  auto idlest = clients_.end();
  for (auto one = clients_.begin(); one != clients_.end(); ++one) {
    const Client& client = one->second;
    if (client.busy || client.cut_off || client.door != door) continue;
    if (has_share && client.user != user) continue;
    if (idlest == clients_.end() || client.since < idlest->second.since) idlest = one;
  }
  if (idlest == clients_.end()) return false;
  idlest->second.cut_off = true;
  // It is closed, and forgotten, by the thread that reads from it.
  ::shutdown(idlest->first, SHUT_RDWR);
  return true;
}

void HttpServer::add(os::Fd connection, Door door, std::uint32_t user) {
  const int fd = connection.get();
  bool is_full = false;
  {
    const std::scoped_lock lock(mutex_);
    is_full = !make_room(door, user);
    if (!is_full) clients_[fd] = {door, user, false, false, Clock::now()};
  }
  if (is_full) {
    return refuse_connection(connection, options_.refusal(503, "too many connections"));
  }
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  // From here on the descriptor is libmicrohttpd's, also when it does not want it.
  connection.release();
  if (MHD_add_connection(daemon_, fd, reinterpret_cast<const sockaddr*>(&address),
                         sizeof(address)) != MHD_YES) {
    forget(fd);
  }
}

void HttpServer::forget(int fd) {
  {
    const std::scoped_lock lock(mutex_);
    clients_.erase(fd);
  }
  changed_.notify_all();
}

void HttpServer::cut_off_silent_clients() {
  const auto now = Clock::now();
  const std::scoped_lock lock(mutex_);
  for (const auto& [fd, client] : clients_) {
    // It is closed, and forgotten, by the thread that reads from it.
    if (!client.busy && now - client.since > options_.patience) ::shutdown(fd, SHUT_RDWR);
  }
}

std::size_t HttpServer::connections() const {
  const std::scoped_lock lock(mutex_);
  return clients_.size();
}

std::size_t HttpServer::unanswered() const {
  const std::scoped_lock lock(mutex_);
  return unanswered_;
}

void HttpServer::refuse_requests() {
  refusing_ = true;
  const std::scoped_lock lock(mutex_);
  for (const auto& [fd, client] : clients_) {
    // What is in the socket is read all the same; then comes the end.
    if (!client.busy) ::shutdown(fd, SHUT_RD);
  }
}

bool HttpServer::wait_ended(std::chrono::milliseconds patience) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, patience, [this] { return unanswered_ == 0 && clients_.empty(); });
}

int HttpServer::take(MHD_Connection* connection, Exchange& exchange, const char* data,
                     std::size_t* size) {
  using State = Exchange::State;
  std::string& body = exchange.request.body;
  switch (exchange.state) {
    case State::kHead:
      exchange.state = State::kBody;
      MHD_get_connection_values(connection, MHD_GET_ARGUMENT_KIND, &add_argument,
                                &exchange.request.query);
      if (announced_bytes(connection) > options_.max_body_bytes) {
        return send(connection,
                    options_.refusal(413, fmt::format("the body is larger than {} bytes",
                                                      options_.max_body_bytes)));
      }
      return MHD_YES;
    case State::kBody:
      if (*size == 0) return take_whole(connection, exchange);
      if (*size > options_.max_body_bytes - body.size()) return MHD_NO;
      body.append(data, *size);
      *size = 0;
      return MHD_YES;
    case State::kWorking:
      return MHD_YES;
    case State::kDone:
      return send(connection, exchange.response);
  }
  return MHD_NO;
}

int HttpServer::take_whole(MHD_Connection* connection, Exchange& exchange) {
  {
    const std::scoped_lock lock(mutex_);
    const auto client = clients_.find(fd_of(connection));
    if (client == clients_.end()) return MHD_NO;
    client->second.busy = true;
    exchange.request.door = client->second.door;
    exchange.counted = true;
    ++unanswered_;
  }
  if (refusing_) return send(connection, options_.stopping());
  switch (options_.lane(exchange.request)) {
    case Lane::kAtOnce:
      break;
    case Lane::kQuick:
      return work_on(connection, exchange, *quick_);
    case Lane::kLong:
      return work_on(connection, exchange, *long_);
  }
  return send(connection, answer(exchange.request));
}

int HttpServer::work_on(MHD_Connection* connection, Exchange& exchange, WorkerPool& pool) {
  exchange.state = Exchange::State::kWorking;
  // Before the worker can resume it.
  MHD_suspend_connection(connection);
  // Without memory for one more it is as if too many waited: the connection must not stay
  // suspended.
  const auto taken = contain("request", [&]() -> Result<bool> {
    return pool.submit([this, connection, &exchange] {
      exchange.response = answer_unless_refusing(exchange.request);
      exchange.state = Exchange::State::kDone;
      MHD_resume_connection(connection);
    });
  });
  if (!taken.value_or(false)) {
    exchange.response = refuse(503, "too many requests wait");
    exchange.state = Exchange::State::kDone;
    MHD_resume_connection(connection);
  }
  return MHD_YES;
}

Response HttpServer::answer(const Request& request) const noexcept {
  try {
    return options_.handle(request);
  } catch (const std::exception& exception) {
    return refuse(500, exception.what());
  }
}

Response HttpServer::answer_unless_refusing(const Request& request) const noexcept {
  if (!refusing_) return answer(request);
  try {
    return options_.stopping();
  } catch (const std::exception& exception) {
    return refuse(500, exception.what());
  }
}

Response HttpServer::refuse(int status, const char* why) const noexcept {
  try {
    return options_.refusal(status, why);
  } catch (const std::exception&) {
    // Not even memory for that: a status without words.
    return Response{status, {}, {}, {}};
  }
}

int HttpServer::send(MHD_Connection* connection, const Response& response) {
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-const-cast): it is copied, the type is from C
  auto* body = const_cast<char*>(response.body.data());
  MHD_Response* answer =
      MHD_create_response_from_buffer(response.body.size(), body, MHD_RESPMEM_MUST_COPY);
  if (answer == nullptr) return MHD_NO;
  MHD_add_response_header(answer, MHD_HTTP_HEADER_CONTENT_TYPE, response.content_type.c_str());
  if (!response.allow.empty()) {
    MHD_add_response_header(answer, MHD_HTTP_HEADER_ALLOW, response.allow.c_str());
  }
  const auto queued =
      MHD_queue_response(connection, static_cast<unsigned>(response.status), answer);
  MHD_destroy_response(answer);
  options_.answered(response.status);
  return queued;
}

void HttpServer::completed(MHD_Connection* connection, std::unique_ptr<Exchange> exchange) {
  {
    const std::scoped_lock lock(mutex_);
    const auto client = clients_.find(fd_of(connection));
    if (client != clients_.end()) {
      client->second.busy = false;
      client->second.since = Clock::now();
    }
    if (exchange && exchange->counted) --unanswered_;
  }
  changed_.notify_all();
}

}  // namespace lamina::daemon
