#include "http/server_thread.h"

#include <poll.h>

#include <array>
#include <exception>
#include <utility>

#include "base/contain.h"
#include "base/error.h"
#include "os/poll.h"

namespace lamina::http {
namespace {

constexpr unsigned kHandlerFailed = 500;
constexpr unsigned kQueueFull = 503;

}  // namespace

Result<std::unique_ptr<ServerThread>> ServerThread::start(Options options) {
  std::unique_ptr<ServerThread> server(new ServerThread(std::move(options)));
  const Status begun = contain("HTTP server", [&] { return server->begin(); });
  if (!begun) {
    return fail(ErrorKind::kFailed,
                "the HTTP server does not start: {}; see the limits on threads and open files",
                begun.error().message);
  }
  return server;
}

Status ServerThread::begin() {
  LAMINA_ASSIGN_OR_RETURN(wake_, os::Event::create("the HTTP server"));
  LAMINA_ASSIGN_OR_RETURN(server_, Server::create(options_.server));
  for (const QueueOptions& queue : options_.queues) {
    queues_.push_back(
        std::make_unique<WorkerPool>(queue.workers, queue.max_threads, queue.max_waiting));
  }
  thread_ = std::thread([this] { serve(); });
  return {};
}

ServerThread::~ServerThread() {
  // The thread submits requests to the queues until it has ended.
  ending_ = true;
  wake_.signal();
  if (thread_.joinable()) thread_.join();
  // Their jobs still use the server and wake_.
  queues_.clear();
}

void ServerThread::serve() {
  while (!ending_) {
    int wait_ms = -1;
    {
      const MutexLock lock(mutex_);
      server_->run([this](Server::ConnectionId id, ServerRequest request) {
        return dispatch(id, std::move(request));
      });
      wait_ms = server_->expire();
    }
    tell_if_closed();
    std::array<pollfd, 2> events = {pollfd{server_->fd(), POLLIN, 0},
                                    pollfd{wake_.fd(), POLLIN, 0}};
    // If it fails, it is tried again.
    static_cast<void>(os::wait_for_events(events, wait_ms));
    if (events[1].revents != 0) wake_.clear();
  }
}

std::optional<ServerResponse> ServerThread::dispatch(Server::ConnectionId id,
                                                     ServerRequest request) {
  const auto queue = options_.queue_of(request);
  if (!queue) return response_to(request);
  // Without memory for the job the request was not begun either.
  const auto is_accepted = contain("request", [&]() -> Result<bool> {
    auto shared = std::make_shared<const ServerRequest>(std::move(request));
    return queues_.at(*queue)->submit([this, id, shared] { work_on(id, *shared); });
  });
  if (is_accepted.value_or(false)) return std::nullopt;
  return server_->error_response(kQueueFull, "too many requests wait");
}

void ServerThread::work_on(Server::ConnectionId id, const ServerRequest& request) {
  const ServerResponse response = response_to(request);
  {
    const MutexLock lock(mutex_);
    server_->respond(id, response);
  }
  // The connection has a new deadline.
  wake_.signal();
}

ServerResponse ServerThread::response_to(const ServerRequest& request) const noexcept {
  try {
    return stopping_ ? options_.server.stopping_response() : options_.handle(request);
  } catch (const std::exception& exception) {
    return server_->error_response(kHandlerFailed, exception.what());
  }
}

void ServerThread::add(os::Fd socket, std::size_t listener, std::int64_t owner) {
  {
    const MutexLock lock(mutex_);
    server_->add(std::move(socket), listener, owner);
  }
  // It has a deadline.
  wake_.signal();
}

void ServerThread::stop_requests() {
  stopping_ = true;
  {
    const MutexLock lock(mutex_);
    server_->stop_requests();
  }
  wake_.signal();
}

void ServerThread::tell_if_closed() {
  if (connections() == 0) closed_.notify_all();
}

bool ServerThread::wait_until_closed(std::chrono::milliseconds timeout) {
  const MutexLock lock(mutex_);
  return closed_.wait_for(mutex_, timeout, [this] { return connections() == 0; });
}

}  // namespace lamina::http
