// HTTP/1.1 for connections that somebody else accepts (libmicrohttpd). One thread reads all
// requests and writes all answers; what takes time is done by workers, meanwhile the connection
// rests. So clients that send slowly, or nothing, cost a descriptor and no thread, and are cut off
// in the end.
//
// A client that goes away does not stop what it has asked for.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "daemon/worker_pool.h"
#include "lamina/result.h"
#include "os/fd.h"

struct MHD_Daemon;
struct MHD_Connection;

namespace lamina::daemon {

/// The socket that a client came by.
enum class Door : std::uint8_t { kApi, kMetrics };

struct Request {
  Door door = Door::kApi;
  std::string method;
  std::string path;  ///< without percent signs
  std::map<std::string, std::string> query;
  std::string body;
};

struct Response {
  int status = 200;
  std::string body;
  std::string content_type = "application/json";
  std::string allow;  ///< the methods that there are, with 405
};

/// Who does what a request asks for.
enum class Lane : std::uint8_t {
  kAtOnce,  ///< the thread that reads requests: must never wait
  kQuick,   ///< workers that only read
  kLong,    ///< workers that pause, resume, …
};

class HttpServer {
 public:
  using Clock = std::chrono::steady_clock;

  struct Options {
    /// By the door of the API, and by that of the metrics. When all are taken, or those that one
    /// user may have, the one that has been idle longest gives way.
    std::size_t max_connections = 1024;
    std::size_t max_metrics_connections = 64;
    std::size_t max_connections_of_one_user = 768;
    std::size_t max_body_bytes = std::size_t{64} << 10;
    std::size_t long_workers = 16;
    std::size_t max_queued = 256;
    /// From the beginning of a connection, or its last answer, to the end of a request.
    std::chrono::seconds patience{30};
    std::function<Lane(const Request&)> lane;
    std::function<Response(const Request&)> handle;  ///< from any thread; may throw
    /// The answer when `handle` has not been asked: too large, too busy.
    std::function<Response(int status, const std::string& message)> refusal;
    /// The answer when it is not asked any more, see refuse_requests().
    std::function<Response()> stopping;
    std::function<void(int status)> answered;
  };

  static Result<std::unique_ptr<HttpServer>> start(Options options);

  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;
  HttpServer(HttpServer&&) = delete;
  HttpServer& operator=(HttpServer&&) = delete;
  /// REQUIRES: unanswered() is 0 after refuse_requests().
  ~HttpServer();

  /// Takes over a connection of `user`; one too many is told so and closed.
  void add(os::Fd connection, Door door, std::uint32_t user);

  /// Cuts off clients whose request has not come within the patience.
  void cut_off_silent_clients();

  [[nodiscard]] std::size_t connections() const;
  /// Requests that are being worked on, or wait for a worker.
  [[nodiscard]] std::size_t unanswered() const;

  /// From now on every request is refused; those whose work has begun go on. What clients have not
  /// sent by now is not read, and what they have sent is answered before their connections are
  /// closed. Once is not enough for connections that are busy now.
  void refuse_requests();
  /// Waits until all answers are sent and all connections closed, at most so long; true when they
  /// are. After refuse_requests() they will be, unless a client does not read its answer.
  bool wait_ended(std::chrono::milliseconds patience);

  /// One request of a connection. Public for the callbacks of libmicrohttpd only.
  struct Exchange;

 private:
  struct Client {
    Door door = Door::kApi;
    std::uint32_t user = 0;
    bool busy = false;     ///< its request is whole and not answered
    bool cut_off = false;  ///< it has given way to another, and is about to be closed
    Clock::time_point since;
  };
  friend struct Callbacks;

  explicit HttpServer(Options options);
  int take(MHD_Connection* connection, Exchange& exchange, const char* data, std::size_t* size);
  int take_whole(MHD_Connection* connection, Exchange& exchange);
  int work_on(MHD_Connection* connection, Exchange& exchange, WorkerPool& pool);
  // Whatever goes wrong is an answer, too.
  [[nodiscard]] Response answer(const Request& request) const noexcept;
  [[nodiscard]] Response answer_unless_refusing(const Request& request) const noexcept;
  [[nodiscard]] Response refuse(int status, const char* why) const noexcept;
  int send(MHD_Connection* connection, const Response& response);
  void completed(MHD_Connection* connection, std::unique_ptr<Exchange> exchange);
  void forget(int fd);
  /// Whether one more may come. REQUIRES: mutex_ is held.
  bool make_room(Door door, std::uint32_t user);

  const Options options_;
  std::atomic<bool> refusing_ = false;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<int, Client> clients_;
  std::size_t unanswered_ = 0;
  std::unique_ptr<WorkerPool> quick_;
  std::unique_ptr<WorkerPool> long_;
  MHD_Daemon* daemon_ = nullptr;
};

}  // namespace lamina::daemon
