#include "server/metrics_socket.h"

#include <sys/types.h>

#include <chrono>
#include <utility>

#include "base/error.h"
#include "os/peer.h"
#include "server/wait_time.h"

namespace lamina::server {
namespace {

constexpr const char* kContentType = "text/plain; version=0.0.4";

/// One process gets only some of the connections, so that it cannot keep others out.
constexpr http::ConnectionLimits kLimits = {.max_connections = 64,
                                            .max_connections_of_one_owner = 8};
constexpr std::chrono::seconds kRequestTimeout{10};
constexpr std::size_t kMaxRequestBytes = 4096;

http::Server::Options server_options() {
  http::Server::Options options;
  options.listeners = {kLimits};
  options.max_head_bytes = kMaxRequestBytes;
  options.max_body_bytes = kMaxRequestBytes;
  options.request_timeout = kRequestTimeout;
  options.send_timeout = kRequestTimeout;
  options.keeps_alive = false;
  options.error_response = [](unsigned status, const std::string& message) {
    return http::ServerResponse{status, message + "\n", "text/plain", {}};
  };
  return options;
}

}  // namespace

Result<MetricsSocket> MetricsSocket::create(const std::string& path, Listener inherited,
                                            os::ReplaceSocket replace) {
  LAMINA_ASSIGN_OR_RETURN(auto server, http::Server::create(server_options()));
  if (!inherited.valid()) {
    LAMINA_ASSIGN_OR_RETURN(inherited, Listener::bind(path, {.group = {}, .replace = replace}));
  }
  inherited.set_path_if_unknown(path);
  return MetricsSocket(path, std::move(inherited), std::move(server));
}

int MetricsSocket::expire() { return sooner(server_->expire(), listener_.expire()); }

void MetricsSocket::handle(const std::function<std::string()>& metrics) {
  const http::Server::Handler respond = [&metrics](http::Server::ConnectionId /*id*/,
                                                   const http::ServerRequest& /*request*/) {
    constexpr unsigned kOk = 200;
    return http::ServerResponse{kOk, metrics(), kContentType, {}};
  };
  server_->run(respond);
  // Bounded: the caller has other work. Without a free descriptor the clients wait.
  for (std::size_t i = 0; i < kLimits.max_connections; ++i) {
    auto client = listener_.accept(path_);
    if (!client || !*client) break;
    const auto peer = os::peer_of((*client)->get());
    server_->add(std::move(**client), 0, peer ? peer->pid : -1);
    // Answer requests that have arrived before a further connection replaces theirs.
    server_->run(respond);
  }
}

}  // namespace lamina::server
