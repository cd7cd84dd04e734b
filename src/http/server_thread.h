// An HTTP/1.1 server with a thread that receives requests and sends responses, and with worker
// threads that handle the requests that take time.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "http/message.h"
#include "http/server.h"
#include "http/worker_pool.h"
#include "lamina/result.h"
#include "os/event.h"
#include "os/fd.h"

namespace lamina::http {

/// Thread-safe.
class ServerThread {
 public:
  /// Requests that wait for the same workers.
  struct QueueOptions {
    std::size_t workers = 1;      ///< requests that are handled at the same time
    std::size_t max_threads = 1;  ///< including those that wait for another process (WorkerPool)
    std::size_t max_waiting = 256;
  };

  struct Options {
    Server::Options server;
    std::vector<QueueOptions> queues;
    /// The number of the queue of a request; nullopt: the server's thread handles it, so that
    /// handle() must not block.
    std::function<std::optional<std::size_t>(const ServerRequest&)> queue_of;
    /// Called by any thread. May throw.
    std::function<ServerResponse(const ServerRequest&)> handle;
  };

  static Result<std::unique_ptr<ServerThread>> start(Options options);

  ServerThread(const ServerThread&) = delete;
  ServerThread& operator=(const ServerThread&) = delete;
  ServerThread(ServerThread&&) = delete;
  ServerThread& operator=(ServerThread&&) = delete;
  /// Waits for requests that were passed to workers. Begins no others, and sends of the responses
  /// only what the sockets' buffers take at once: call stop_requests() and wait_until_closed()
  /// before.
  ~ServerThread();

  /// See Server::add().
  void add(os::Fd socket, std::size_t listener, std::int64_t owner);

  [[nodiscard]] std::size_t connections() const { return server_->connections(); }
  /// Requests that wait, are handled, or are being answered.
  [[nodiscard]] std::size_t unanswered() const { return server_->unanswered(); }

  /// See Server::stop_requests(). Requests that still wait for a worker get stopping_response()
  /// too.
  void stop_requests();

  /// Waits until all connections are closed, but not longer than `timeout`; true if they are. After
  /// stop_requests() they close unless a client does not accept its response.
  bool wait_until_closed(std::chrono::milliseconds timeout);

 private:
  explicit ServerThread(Options options) : options_(std::move(options)) {}
  Status begin();
  void serve();
  std::optional<ServerResponse> dispatch(Server::ConnectionId id, ServerRequest request);
  void work_on(Server::ConnectionId id, const ServerRequest& request);
  [[nodiscard]] ServerResponse response_to(const ServerRequest& request) const noexcept;
  void tell_if_closed();

  const Options options_;
  std::atomic<bool> stopping_ = false;  ///< requests are not handled any more
  std::atomic<bool> ending_ = false;    ///< the thread is to end
  os::Event wake_;
  Mutex mutex_;  ///< held for every call of server_, except where that is thread-safe
  std::condition_variable_any closed_;
  std::unique_ptr<Server> server_;
  std::vector<std::unique_ptr<WorkerPool>> queues_;
  std::thread thread_;
};

}  // namespace lamina::http
