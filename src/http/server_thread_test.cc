#include "http/server_thread.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "http/exchange.h"

namespace lamina::http {
namespace {

/// Opened once.
class Gate {
 public:
  void open() {
    {
      const std::scoped_lock lock(mutex_);
      is_open_ = true;
    }
    changed_.notify_all();
  }
  void wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return is_open_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_open_ = false;
};

/// "/now" is handled by the server's thread, "/gate" waits for the gate, other paths are handled by
/// the same workers.
class HttpServerThreadTest : public testing::Test {
 protected:
  HttpServerThreadTest() {
    options_.server.listeners = {{.max_connections = 64, .max_connections_of_one_owner = 64}};
    options_.server.error_response = [](unsigned status, const std::string& message) {
      return ServerResponse{status, message, "text/plain", {}};
    };
    options_.server.stopping_response = [] {
      return ServerResponse{503, "stopping", "text/plain", {}};
    };
    options_.queues = {{.workers = 1, .max_threads = 1, .max_waiting = 1}};
    options_.queue_of = [](const ServerRequest& request) {
      return request.path == "/now" ? std::nullopt : std::optional<std::size_t>(0);
    };
    options_.handle = [this](const ServerRequest& request) {
      if (request.path == "/gate") {
        begun_.open();
        gate_.wait();
      }
      return ServerResponse{200, request.path + request.body, "text/plain", {}};
    };
  }
  ~HttpServerThreadTest() override { gate_.open(); }

  void start() {
    auto server = ServerThread::start(options_);
    if (!server) throw std::runtime_error(server.error().message);
    server_ = std::move(*server);
  }

  os::Fd connect() {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
      throw std::runtime_error("socketpair");
    }
    server_->add(os::Fd(ends[1]), 0, 0);
    return os::Fd(ends[0]);
  }

  Response ask(std::string_view target, const std::string& body = {}) {
    const os::Fd client = connect();
    auto done =
        exchange(client.get(), {"POST", target, body}, {.timeout = std::chrono::minutes(1)});
    if (!done.response) throw std::runtime_error(done.response.error().message);
    return *done.response;
  }

  Gate gate_;
  Gate begun_;
  ServerThread::Options options_;
  std::unique_ptr<ServerThread> server_;
};

TEST_F(HttpServerThreadTest, AFullQueueRefusesARequestAndOthersGoOn) {
  start();
  std::jthread first([this] { EXPECT_EQ(ask("/gate").body, "/gate"); });
  begun_.wait();
  std::jthread second([this] { EXPECT_EQ(ask("/later").body, "/later"); });
  while (server_->unanswered() < 2) std::this_thread::yield();
  const Response refused = ask("/refused");
  EXPECT_EQ(refused.status, 503U);
  EXPECT_EQ(refused.body, "too many requests wait");
  EXPECT_EQ(ask("/now").body, "/now");
  gate_.open();
}

TEST_F(HttpServerThreadTest, AStopAnswersRequestsThatWait) {
  start();
  std::jthread first([this] { EXPECT_EQ(ask("/gate").body, "/gate"); });
  begun_.wait();
  std::jthread second([this] { EXPECT_EQ(ask("/later").body, "stopping"); });
  while (server_->unanswered() < 2) std::this_thread::yield();
  const os::Fd idle = connect();
  server_->stop_requests();
  EXPECT_FALSE(server_->wait_until_closed(std::chrono::milliseconds(1)));
  gate_.open();
  EXPECT_TRUE(server_->wait_until_closed(std::chrono::minutes(1)));
  EXPECT_EQ(server_->unanswered(), 0U);
  char byte = 0;
  EXPECT_EQ(::recv(idle.get(), &byte, 1, 0), 0);
}

TEST_F(HttpServerThreadTest, ASilentClientIsDisconnected) {
  options_.server.request_timeout = std::chrono::milliseconds(20);
  start();
  const os::Fd client = connect();
  char byte = 0;
  EXPECT_EQ(::recv(client.get(), &byte, 1, 0), 0);
}

TEST_F(HttpServerThreadTest, EndsWhileRequestsArrive) {
  constexpr int kRounds = 20;
  constexpr int kClients = 4;
  options_.queues = {{.workers = 2, .max_threads = 2, .max_waiting = 256}};
  for (int round = 0; round < kRounds; ++round) {
    start();
    std::atomic<int> answered = 0;
    std::vector<std::jthread> clients;
    for (int i = 0; i < kClients; ++i) {
      clients.emplace_back([&answered, client = connect()] {
        while (exchange(client.get(), {"POST", "/other", ""}, {.timeout = std::chrono::minutes(1)})
                   .response) {
          ++answered;
        }
      });
    }
    while (answered < kClients) std::this_thread::yield();
    server_.reset();
  }
}

TEST_F(HttpServerThreadTest, ManyClientsAtOnceGetTheirOwnResponses) {
  options_.queues = {{.workers = 4, .max_threads = 4, .max_waiting = 256}};
  start();
  constexpr int kClients = 16;
  constexpr int kRequests = 50;
  {
    std::vector<std::jthread> clients;
    for (int i = 0; i < kClients; ++i) {
      clients.emplace_back([this, i] {
        const os::Fd client = connect();
        for (int j = 0; j < kRequests; ++j) {
          const std::string target = i % 2 == 0 ? "/now" : "/other";
          const std::string body = std::to_string(i) + "-" + std::to_string(j);
          const auto done =
              exchange(client.get(), {"POST", target, body}, {.timeout = std::chrono::minutes(1)});
          ASSERT_TRUE(done.response) << done.response.error().message;
          EXPECT_EQ(done.response->body, target + body);
        }
      });
    }
  }
  server_->stop_requests();
  EXPECT_TRUE(server_->wait_until_closed(std::chrono::minutes(1)));
}

}  // namespace
}  // namespace lamina::http
