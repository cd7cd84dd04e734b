#include "http/server.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lamina::http {
namespace {

/// A server with one listener, in this thread; clients at the other ends of socket pairs.
class HttpServerTest : public testing::Test {
 protected:
  HttpServerTest() {
    options_.listeners = {{.max_connections = 4, .max_connections_of_one_owner = 2}};
    options_.error_response = [](unsigned status, const std::string& message) {
      return ServerResponse{status, message, "text/plain", {}};
    };
    options_.stopping_response = [] { return ServerResponse{503, "stopping", "text/plain", {}}; };
  }

  void start() {
    auto server = Server::create(options_);
    if (!server) throw std::runtime_error(server.error().message);
    server_ = std::move(*server);
  }

  os::Fd connect(std::int64_t owner = 0) {
    if (!server_) start();
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()) != 0) {
      throw std::runtime_error("socketpair");
    }
    server_->add(os::Fd(ends[1]), 0, owner);
    return os::Fd(ends[0]);
  }

  static void send(const os::Fd& client, std::string_view text) {
    ASSERT_EQ(::send(client.get(), text.data(), text.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(text.size()));
  }

  /// Runs the server until it has nothing more to do.
  void run() {
    pollfd ready{server_->fd(), POLLIN, 0};
    while (::poll(&ready, 1, 0) > 0) server_->run(handler_);
  }

  /// Runs the server and returns what the client has received by then.
  std::string received(const os::Fd& client) {
    std::string text;
    while (true) {
      run();
      std::array<char, 65536> piece{};
      const ssize_t count = ::recv(client.get(), piece.data(), piece.size(), 0);
      if (count <= 0) return text;
      text.append(piece.data(), static_cast<std::size_t>(count));
    }
  }

  static bool is_closed(const os::Fd& client) {
    char byte = 0;
    const ssize_t count = ::recv(client.get(), &byte, 1, MSG_PEEK);
    return count == 0 || (count < 0 && errno == ECONNRESET);
  }

  /// Calls expire() until the server has closed `client`.
  void wait_until_expired(const os::Fd& client) {
    while (!is_closed(client)) {
      const int wait_ms = server_->expire();
      if (is_closed(client)) return;
      ASSERT_GE(wait_ms, 0);
      ::poll(nullptr, 0, wait_ms);
    }
  }

  Server::Options options_;
  std::unique_ptr<Server> server_;
  /// Answers with the method, the path and the body.
  Server::Handler handler_ = [](Server::ConnectionId, const ServerRequest& request) {
    return ServerResponse{
        200, request.method + " " + request.path + " " + request.body, "text/plain", {}};
  };
};

bool ends_with_body(const std::string& response, std::string_view body) {
  return response.ends_with("\r\n\r\n" + std::string(body));
}

std::size_t count_of(const std::string& text, std::string_view part) {
  std::size_t count = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

TEST_F(HttpServerTest, ACheckSeesTheFieldsAndMayRespondInPlaceOfTheHandler) {
  options_.check = [](const ServerRequest& request,
                      const HeaderFields& fields) -> std::optional<ServerResponse> {
    const HeaderFields expected = {{"host", "h"}, {"x-odd", "A b"}};
    if (request.path == "/good" && fields == expected) return std::nullopt;
    return ServerResponse{403, "refused", "text/plain", {}};
  };
  options_.response_fields = {{"X-Policy", "strict"}};
  const os::Fd client = connect();
  send(client, "GET /good HTTP/1.1\r\nHost: h\r\nX-ODD:  A b\r\n\r\n");
  const std::string handled = received(client);
  EXPECT_TRUE(ends_with_body(handled, "GET /good ")) << handled;
  send(client, "GET /good HTTP/1.1\r\nHost: other\r\n\r\n");
  const std::string refused = received(client);
  EXPECT_TRUE(refused.starts_with("HTTP/1.1 403 ")) << refused;
  EXPECT_TRUE(ends_with_body(refused, "refused")) << refused;
  send(client, "not a request\r\n\r\n");
  const std::string rejected = received(client);
  EXPECT_TRUE(rejected.starts_with("HTTP/1.1 400 ")) << rejected;
  for (const std::string& response : {handled, refused, rejected}) {
    EXPECT_EQ(count_of(response, "\r\nX-Policy: strict\r\n"), 1U) << response;
  }
}

TEST_F(HttpServerTest, AnswersARequestThatArrivesByteByByte) {
  const os::Fd client = connect();
  const std::string text = "PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab";
  for (const char byte : text.substr(0, text.size() - 1)) {
    send(client, {&byte, 1});
    ASSERT_EQ(received(client), "");
  }
  send(client, "b");
  const std::string response = received(client);
  EXPECT_TRUE(response.starts_with("HTTP/1.1 200 OK\r\n")) << response;
  EXPECT_TRUE(ends_with_body(response, "PUT /x ab")) << response;
  EXPECT_EQ(response.find("Connection:"), std::string::npos);
  EXPECT_FALSE(is_closed(client));
  EXPECT_EQ(server_->connections(), 1U);
  EXPECT_EQ(server_->unanswered(), 0U);
}

TEST_F(HttpServerTest, AnswersPipelinedRequestsInTheirOrder) {
  const os::Fd client = connect();
  std::string requests;
  constexpr std::size_t kRequests = 100;
  for (std::size_t i = 0; i < kRequests; ++i) {
    requests += "GET /" + std::to_string(i) + " HTTP/1.1\r\n\r\n";
  }
  send(client, requests);
  const std::string responses = received(client);
  EXPECT_EQ(count_of(responses, "HTTP/1.1 200 OK"), kRequests);
  EXPECT_LT(responses.find("GET /7 "), responses.find("GET /8 "));
  EXPECT_TRUE(ends_with_body(responses, "GET /99 "));
}

TEST_F(HttpServerTest, GarbageAfterARequestClosesTheConnection) {
  const os::Fd client = connect();
  send(client, "GET /1 HTTP/1.1\r\n\r\n\x01\x02garbage\r\n\r\nGET /2 HTTP/1.1\r\n\r\n");
  const std::string responses = received(client);
  EXPECT_EQ(count_of(responses, "HTTP/1.1 200 OK"), 1U) << responses;
  EXPECT_EQ(count_of(responses, "HTTP/1.1 400 Bad Request"), 1U) << responses;
  EXPECT_EQ(count_of(responses, "GET /2"), 0U) << responses;
  EXPECT_TRUE(is_closed(client));
}

TEST_F(HttpServerTest, AnOversizeBodyIsRejectedAndTheClientGetsTheResponse) {
  options_.max_body_bytes = 1000;
  const os::Fd client = connect();
  send(client, "PUT / HTTP/1.1\r\nContent-Length: 100000\r\n\r\n");
  run();
  send(client, std::string(100'000, 'x'));
  run();
  const std::string response = received(client);
  EXPECT_TRUE(response.starts_with("HTTP/1.1 413 ")) << response;
  EXPECT_TRUE(ends_with_body(response, "the body is larger than 1000 bytes"));
  EXPECT_NE(response.find("Connection: close\r\n"), std::string::npos);
  ::shutdown(client.get(), SHUT_WR);
  run();
  EXPECT_EQ(server_->connections(), 0U);
  EXPECT_EQ(server_->unanswered(), 0U);
}

TEST_F(HttpServerTest, ARejectedClientThatSendsOnIsDisconnected) {
  const os::Fd client = connect();
  send(client, "\x01\r\n\r\n");
  run();
  const std::string piece(65536, 'x');
  for (int i = 0; i < 100 && server_->connections() > 0; ++i) {
    static_cast<void>(::send(client.get(), piece.data(), piece.size(), MSG_NOSIGNAL));
    run();
  }
  EXPECT_EQ(server_->connections(), 0U);
}

TEST_F(HttpServerTest, ASlowRequestIsDisconnected) {
  options_.request_timeout = std::chrono::milliseconds(20);
  const os::Fd silent = connect();
  const os::Fd slow = connect(1);
  send(slow, "GET / HTTP/1.1\r\nHost:");
  run();
  wait_until_expired(silent);
  wait_until_expired(slow);
  EXPECT_EQ(server_->connections(), 0U);
  EXPECT_EQ(server_->expire(), -1);
}

TEST_F(HttpServerTest, AClientThatDoesNotReadIsDisconnected) {
  options_.send_timeout = std::chrono::milliseconds(20);
  handler_ = [](Server::ConnectionId, const ServerRequest&) {
    return ServerResponse{200, std::string(std::size_t{8} << 20, 'x'), "text/plain", {}};
  };
  const os::Fd client = connect();
  send(client, "GET / HTTP/1.1\r\n\r\n");
  run();
  EXPECT_EQ(server_->unanswered(), 1U);
  for (int wait_ms = 0; wait_ms >= 0; wait_ms = server_->expire()) ::poll(nullptr, 0, wait_ms);
  EXPECT_EQ(server_->connections(), 0U);
  EXPECT_EQ(server_->unanswered(), 0U);
}

TEST_F(HttpServerTest, ALargeResponseIsSentInPieces) {
  const std::string body(std::size_t{8} << 20, 'x');
  handler_ = [&body](Server::ConnectionId, const ServerRequest&) {
    return ServerResponse{200, body, "text/plain", {}};
  };
  const os::Fd client = connect();
  send(client, "GET / HTTP/1.1\r\n\r\n");
  EXPECT_TRUE(ends_with_body(received(client), body));
  EXPECT_EQ(server_->unanswered(), 0U);
}

TEST_F(HttpServerTest, ANewConnectionReplacesTheIdlestOne) {
  const os::Fd first = connect(1);
  const os::Fd second = connect(2);
  const os::Fd third = connect(3);
  const os::Fd fourth = connect(4);
  // The first one is not the idlest any more.
  send(first, "GET / HTTP/1.1\r\n\r\n");
  EXPECT_NE(received(first), "");
  const os::Fd fifth = connect(5);
  EXPECT_TRUE(is_closed(second));
  for (const os::Fd* one : {&first, &third, &fourth, &fifth}) EXPECT_FALSE(is_closed(*one));
  EXPECT_EQ(server_->connections(), 4U);
}

TEST_F(HttpServerTest, AnOwnerReplacesItsOwnConnectionsOnly) {
  const os::Fd other = connect(1);
  const os::Fd first = connect(2);
  const os::Fd second = connect(2);
  const os::Fd third = connect(2);
  EXPECT_FALSE(is_closed(other));
  EXPECT_TRUE(is_closed(first));
  EXPECT_FALSE(is_closed(second));
  EXPECT_FALSE(is_closed(third));
}

TEST_F(HttpServerTest, AConnectionWhoseRequestIsHandledIsNotReplaced) {
  std::vector<Server::ConnectionId> handled;
  handler_ = [&handled](Server::ConnectionId id, const ServerRequest&) {
    handled.push_back(id);
    return std::nullopt;
  };
  const os::Fd first = connect(1);
  const os::Fd second = connect(1);
  for (const os::Fd* one : {&first, &second}) send(*one, "GET / HTTP/1.1\r\n\r\n");
  run();
  const os::Fd third = connect(1);
  const std::string refusal = received(third);
  EXPECT_TRUE(refusal.starts_with("HTTP/1.1 503 Service Unavailable\r\n")) << refusal;
  EXPECT_TRUE(ends_with_body(refusal, "too many connections"));
  EXPECT_TRUE(is_closed(third));
  ASSERT_EQ(handled.size(), 2U);
  EXPECT_EQ(server_->unanswered(), 2U);
  server_->respond(handled[1], {200, "late", "text/plain", {}});
  EXPECT_TRUE(ends_with_body(received(second), "late"));
  EXPECT_EQ(received(first), "");
}

TEST_F(HttpServerTest, AClientThatDisconnectsDoesNotCancelItsRequest) {
  Server::ConnectionId handled = 0;
  handler_ = [&handled](Server::ConnectionId id, const ServerRequest&) {
    handled = id;
    return std::nullopt;
  };
  os::Fd client = connect();
  send(client, "GET / HTTP/1.1\r\n\r\n");
  run();
  client.reset();
  run();
  EXPECT_EQ(server_->unanswered(), 1U);
  server_->respond(handled, {});
  run();
  EXPECT_EQ(server_->unanswered(), 0U);
  EXPECT_EQ(server_->connections(), 0U);
}

TEST_F(HttpServerTest, AnHttp10ClientGetsAnHttp10Response) {
  const os::Fd client = connect();
  send(client, "GET / HTTP/1.0\r\n\r\n");
  const std::string response = received(client);
  EXPECT_TRUE(response.starts_with("HTTP/1.0 200 OK\r\n")) << response;
  EXPECT_TRUE(is_closed(client));
  const os::Fd kept = connect();
  send(kept, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  EXPECT_NE(received(kept).find("Connection: keep-alive\r\n"), std::string::npos);
  EXPECT_FALSE(is_closed(kept));
}

TEST_F(HttpServerTest, AServerThatKeepsNoConnectionsSaysSo) {
  options_.keeps_alive = false;
  const os::Fd client = connect();
  send(client, "GET / HTTP/1.1\r\n\r\n");
  EXPECT_NE(received(client).find("Connection: close\r\n"), std::string::npos);
  EXPECT_TRUE(is_closed(client));
}

TEST_F(HttpServerTest, AResponseToHeadHasNoBody) {
  const os::Fd client = connect();
  send(client, "HEAD /x HTTP/1.1\r\n\r\n");
  const std::string response = received(client);
  EXPECT_NE(response.find("Content-Length: 8\r\n"), std::string::npos) << response;
  EXPECT_TRUE(response.ends_with("\r\n\r\n")) << response;
}

TEST_F(HttpServerTest, AClientIsToldToContinue) {
  const os::Fd client = connect();
  send(client, "PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
  EXPECT_EQ(received(client), "HTTP/1.1 100 Continue\r\n\r\n");
  send(client, "ab");
  EXPECT_TRUE(ends_with_body(received(client), "PUT / ab"));
}

TEST_F(HttpServerTest, AHandlerThatThrowsIsAnInternalError) {
  handler_ = [](Server::ConnectionId, const ServerRequest&) -> std::optional<ServerResponse> {
    throw std::runtime_error("it broke");
  };
  const os::Fd client = connect();
  send(client, "GET / HTTP/1.1\r\n\r\n");
  const std::string response = received(client);
  EXPECT_TRUE(response.starts_with("HTTP/1.1 500 ")) << response;
  EXPECT_TRUE(ends_with_body(response, "it broke"));
  EXPECT_EQ(server_->unanswered(), 0U);
}

TEST_F(HttpServerTest, AServerThatStopsAnswersWhatWasSentBefore) {
  const os::Fd idle = connect(1);
  const os::Fd half = connect(2);
  const os::Fd sent = connect(3);
  send(half, "GET / HTT");
  send(sent, "GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n");
  server_->stop_requests();
  EXPECT_EQ(count_of(received(sent), "\r\n\r\nstopping"), 2U);
  EXPECT_EQ(received(idle) + received(half), "");
  for (const os::Fd* one : {&idle, &half, &sent}) EXPECT_TRUE(is_closed(*one));
  EXPECT_EQ(server_->connections(), 0U);
}

TEST_F(HttpServerTest, AForkedChildDoesNotDisturbTheParentsClients) {
  const os::Fd quiet = connect(1);
  const os::Fd half = connect(2);
  const os::Fd replaced = connect(3);
  send(half, "GET / HT");
  run();
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    server_->close_copies();
    const bool is_empty = server_->connections() == 0 && server_->fd() < 0;
    const bool reopened = server_->reopen().has_value();
    server_.reset();
    ::_exit(is_empty && reopened ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  for (const os::Fd* one : {&quiet, &half, &replaced}) EXPECT_FALSE(is_closed(*one));
  EXPECT_EQ(server_->connections(), 3U);
  send(half, "TP/1.1\r\n\r\n");
  EXPECT_TRUE(ends_with_body(received(half), "GET / "));
  send(quiet, "GET /q HTTP/1.1\r\n\r\n");
  EXPECT_TRUE(ends_with_body(received(quiet), "GET /q "));
}

TEST_F(HttpServerTest, AChildThatHoldsCopiesCausesNoEvents) {
  std::array<int, 2> hold{};
  ASSERT_EQ(::pipe2(hold.data(), O_CLOEXEC), 0);
  os::Fd until(hold[1]);
  const os::Fd released(hold[0]);
  os::Fd client = connect();
  run();
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    until.reset();
    char byte = 0;
    const ssize_t count = ::read(released.get(), &byte, 1);
    ::_exit(count == 0 ? 0 : 1);
  }
  client.reset();
  // The child holds both ends. The parent's server closes its own all the same when their time is
  // over, and the connection does not stay in its epoll set.
  server_->stop_requests();
  run();
  EXPECT_EQ(server_->connections(), 0U);
  pollfd ready{server_->fd(), POLLIN, 0};
  EXPECT_EQ(::poll(&ready, 1, 0), 0);
  until.reset();
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
}

}  // namespace
}  // namespace lamina::http
