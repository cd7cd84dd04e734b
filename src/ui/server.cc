#include "ui/server.h"

#include <poll.h>
#include <signal.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <memory>
#include <optional>
#include <utility>

#include "base/error.h"
#include "http/server_thread.h"
#include "lamina/uuid.h"
#include "os/listening_socket.h"
#include "ui/console.h"
#include "ui/loopback.h"

namespace lamina::ui {
namespace {

constexpr std::array kEndingSignals = {SIGINT, SIGTERM, SIGHUP};

extern "C" void note_signal(int /*number*/) {}

/// Blocks the signals that end the console; ppoll(2) with the mask that it returns waits for them.
Result<sigset_t> hold_signals() {
  sigset_t ending{};
  sigset_t before{};
  ::sigemptyset(&ending);
  struct sigaction action{};
  action.sa_handler = note_signal;
  for (const int number : kEndingSignals) {
    ::sigaddset(&ending, number);
    if (::sigaction(number, &action, nullptr) != 0) {
      return system_failure("sigaction", "signals", errno);
    }
  }
  if (const int error = ::pthread_sigmask(SIG_BLOCK, &ending, &before); error != 0) {
    return system_failure("pthread_sigmask", "signals", error);
  }
  for (const int number : kEndingSignals) ::sigdelset(&before, number);
  return before;
}

/// 64 hexadecimal digits, of which 244 bits are random.
std::string fresh_token() {
  std::string token = Uuid::random().to_string() + Uuid::random().to_string();
  std::erase(token, '-');
  return token;
}

http::ServerThread::Options server_options(Console& console) {
  constexpr std::size_t kMaxConnections = 64;
  constexpr std::size_t kWorkers = 4;
  // Apart: actions take minutes, and a daemon may hang.
  enum : std::size_t { kReads, kLive, kActions };
  http::ServerThread::Options options;
  options.server.listeners = {{kMaxConnections, kMaxConnections}};
  options.server.check = [&console](const auto& request, const auto& fields) {
    return console.check(request, fields);
  };
  options.server.response_fields = console.response_fields();
  options.server.error_response = Console::refused;
  options.server.stopping_response = [] {
    constexpr unsigned kUnavailable = 503;
    return Console::refused(kUnavailable, "the console is stopping");
  };
  options.queues = {{kWorkers, kWorkers, kMaxConnections},
                    {kWorkers, kWorkers, kMaxConnections},
                    {1, 1, kMaxConnections}};
  options.queue_of = [&console](const http::ServerRequest& request) -> std::optional<std::size_t> {
    if (console.is_quick(request)) return std::nullopt;
    if (Console::is_action(request)) return kActions;
    return console.is_live(request) ? kLive : kReads;
  };
  options.handle = [&console](const http::ServerRequest& request) {
    return console.handle(request);
  };
  return options;
}

/// Accepts connections until a signal arrives.
Status accept_until_signal(os::ListeningSocket& listening, const std::string& address,
                           const sigset_t& mask, http::ServerThread& server) {
  constexpr int kMillisecondsPerSecond = 1000;
  constexpr long kNanosecondsPerMillisecond = 1'000'000;
  while (true) {
    const int wait_ms = listening.expire();
    const timespec wait{wait_ms / kMillisecondsPerSecond,
                        wait_ms % kMillisecondsPerSecond * kNanosecondsPerMillisecond};
    pollfd event{listening.polled_fd(), POLLIN, 0};
    const int ready = ::ppoll(&event, 1, wait_ms < 0 ? nullptr : &wait, &mask);
    if (ready < 0 && errno == EINTR) return {};
    if (ready < 0) return system_failure("ppoll", address, errno);
    if (event.revents == 0) continue;
    auto connection = listening.accept(address);
    if (connection && *connection) server.add(std::move(**connection), 0, 0);
  }
}

}  // namespace

Status serve_console(const ServerOptions& options) {
  constexpr std::chrono::seconds kStopTimeout{2};
  LAMINA_ASSIGN_OR_RETURN(const LoopbackAddress address, parse_loopback(options.listen));
  LAMINA_ASSIGN_OR_RETURN(Source source, find_source(options.store, options.socket));
  LAMINA_ASSIGN_OR_RETURN(LoopbackListener listener, listen_on_loopback(address));
  const std::string token = fresh_token();
  Console console(std::move(source),
                  {token, listener.hosts, options.allow_actions ? fresh_token() : std::string()});
  LAMINA_RETURN_IF_ERROR(console.prepare());
  LAMINA_ASSIGN_OR_RETURN(const sigset_t mask, hold_signals());
  LAMINA_ASSIGN_OR_RETURN(const std::unique_ptr<http::ServerThread> server,
                          http::ServerThread::start(server_options(console)));
  if (options.ready) options.ready(fmt::format("http://{}/{}/", listener.address, token));
  os::ListeningSocket listening(std::move(listener.socket));
  const Status served = accept_until_signal(listening, listener.address, mask, *server);
  console.stop();
  server->stop_requests();
  server->wait_until_closed(kStopTimeout);
  return served;
}

}  // namespace lamina::ui
