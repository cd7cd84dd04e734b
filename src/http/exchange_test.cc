// Requests without a valid response. Valid responses are tested with Firecracker's client.
#include "http/exchange.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <functional>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <thread>

#include "base/error.h"
#include "http/response_reader.h"
#include "os/unix_socket.h"
#include "scratch_directory.h"

namespace lamina::http {
namespace {

void wait_for_something(const os::Fd& connection) {
  pollfd event{connection.get(), POLLIN, 0};
  if (::poll(&event, 1, -1) != 1) throw std::runtime_error("poll");
}

class ExchangeTest : public testing::Test {
 protected:
  ExchangeTest() {
    auto listening = os::listen_at(path_, {});
    if (!listening) throw std::runtime_error(listening.error().message);
    listening_ = std::move(*listening);
  }

  /// The pending connection.
  [[nodiscard]] os::Fd accepted() const {
    auto connection = os::accept_connection(listening_.get(), path_);
    if (!connection || !*connection) throw std::runtime_error("no connection is pending");
    return std::move(**connection);
  }

  /// One exchange on a new connection. `meanwhile` runs with the other end.
  Exchange exchange_while(const std::function<void(os::Fd)>& meanwhile,
                          std::size_t max_response_bytes = kMaxResponseBytes) const {
    auto connection = os::connect_to(path_);
    if (!connection) throw std::runtime_error(connection.error().message);
    const std::jthread peer(meanwhile, accepted());
    WaitLimits limits{.timeout = std::chrono::minutes(1)};
    limits.max_response_bytes = max_response_bytes;
    return exchange(connection->get(), {"POST", "/x", "{}"}, limits);
  }

  /// An exchange with a peer that reads the whole request, sends `answer` and closes.
  [[nodiscard]] Exchange exchange_with(const std::string& answer,
                                       std::size_t max_response_bytes = kMaxResponseBytes) const {
    return exchange_while(
        [&answer](const os::Fd& connection) {
          std::string request;
          while (!request.ends_with("\r\n\r\n{}")) {
            wait_for_something(connection);
            std::array<char, 4096> piece{};
            const ssize_t count = ::recv(connection.get(), piece.data(), piece.size(), 0);
            if (count > 0) request.append(piece.data(), static_cast<std::size_t>(count));
            if (count == 0) return;
          }
          ::send(connection.get(), answer.data(), answer.size(), MSG_NOSIGNAL);
        },
        max_response_bytes);
  }

  tests::ScratchDirectory scratch_;
  std::string path_ = scratch_.file("socket");
  os::Fd listening_;
};

TEST_F(ExchangeTest, InvalidRequestLineIsNotSent) {
  for (const char* target : {"/x y", "/x\r\nA: b", "/\x7f", "/\xc3\xa4"}) {
    const auto connection = os::connect_to(path_);
    ASSERT_TRUE(connection);
    const Exchange done = exchange(connection->get(), {"GET", target, {}}, {});
    EXPECT_FALSE(done.sent);
    ASSERT_FALSE(done.response);
    EXPECT_EQ(done.response.error().kind, ErrorKind::kUsage);
  }
}

TEST_F(ExchangeTest, NothingIsSentToAPeerThatClosedTheConnection) {
  const auto connection = os::connect_to(path_);
  ASSERT_TRUE(connection);
  accepted().reset();
  const Exchange done =
      exchange(connection->get(), {"POST", "/x", "{}"}, {.timeout = std::chrono::minutes(1)});
  EXPECT_FALSE(done.sent);
  EXPECT_FALSE(done.sent_whole);
  EXPECT_FALSE(done.response);
  EXPECT_TRUE(done.was_closed_unanswered);
}

TEST_F(ExchangeTest, TheReasonForAMissingResponseIsKnown) {
  const Exchange closed = exchange_with("");
  EXPECT_TRUE(closed.was_closed_unanswered);
  EXPECT_FALSE(closed.timed_out);
  for (const char* said : {"H", "no HTTP", "HTTP/1.1 200 X\r\n\r\n"}) {
    EXPECT_FALSE(exchange_with(said).was_closed_unanswered) << said;
  }
  const auto connection = os::connect_to(path_);
  ASSERT_TRUE(connection);
  const Exchange late =
      exchange(connection->get(), {"POST", "/x", "{}"}, {.timeout = std::chrono::milliseconds(1)});
  EXPECT_FALSE(late.response);
  EXPECT_TRUE(late.timed_out);
  EXPECT_FALSE(late.was_closed_unanswered);
}

// The request does not fit in the socket buffer, so it is not sent completely.
TEST_F(ExchangeTest, ResponseBeforeTheEndOfTheRequestIsRead) {
  const std::string body(std::size_t{8} << 20, ' ');
  for (const bool answers : {true, false}) {
    const auto connection = os::connect_to(path_);
    ASSERT_TRUE(connection);
    const std::jthread peer([&answers, other = accepted()] {
      wait_for_something(other);
      std::array<char, 4096> piece{};
      ASSERT_GT(::recv(other.get(), piece.data(), piece.size(), 0), 0);
      const std::string_view answer = "HTTP/1.1 413 Too large\r\nContent-Length: 0\r\n\r\n";
      if (answers) ::send(other.get(), answer.data(), answer.size(), MSG_NOSIGNAL);
    });
    const Exchange done =
        exchange(connection->get(), {"POST", "/x", body}, {.timeout = std::chrono::minutes(1)});
    EXPECT_TRUE(done.sent);
    EXPECT_FALSE(done.sent_whole);
    EXPECT_EQ(done.response.has_value(), answers);
    if (done.response) {
      EXPECT_EQ(done.response->status, 413U);
    }
  }
}

TEST_F(ExchangeTest, RequestIsSentWholeToAPeerThatClosesAfterIt) {
  for (const char* said :
       {"", "HTTP/1.1 200 X\r\n", "HTTP/1.1 200 X\r\nContent-Length: 5\r\n\r\n{"}) {
    const Exchange done = exchange_with(said);
    EXPECT_TRUE(done.sent_whole) << said;
    EXPECT_FALSE(done.response) << said;
  }
}

TEST_F(ExchangeTest, ResponseMustBeginWithAnHttp1StatusLine) {
  for (const char* said : {"HTTP/1.1 204 \r\n\r\n", "HTTP/1.0 200 \r\n\r\n{}",
                           "HTTP/1.1 100 X\r\n\r\nHTTP/1.1 404 No such thing\r\n\r\n{}",
                           "HTTP/1.1 503\r\nContent-Length: 2\r\n\r\n{}",
                           "HTTP/1.1 100\r\n\r\nHTTP/1.0 200\r\n\r\n{}"}) {
    const Exchange done = exchange_with(said);
    EXPECT_TRUE(done.response) << said << done.response.error().message;
  }
  for (const char* said :
       {"HTTP/2222221.1 200 X\r\n\r\n{}", "HTTP/2 200\r\n\r\n{}", "HTTP/1.1 2000 X\r\n\r\n{}",
        "HTTP/22222221.1 100 X\r\n\r\nHTTP/1.1 503 X",
        "HTTP/2-1 100 \nHTTP/1.0 033 :\nHTTP/1.1 233 H:\n\nHTTP/1.1 503 \n", "ICY 200 X\r\n\r\n{}",
        "HTTP/1.1 033 X\r\n\r\n{}", "HTTP/1.1 033\r\n\r\n{}", "HTTP/1.1 20\r\n\r\n{}",
        "HTTP/1.1 503", "HTTP/1.1 503\n\n{}", "HTTP/1.1 100 X\r\n\r\n", "{}"}) {
    const Exchange done = exchange_with(said);
    EXPECT_TRUE(done.sent_whole) << said;
    EXPECT_FALSE(done.response) << said;
  }
}

// (Without NDEBUG, Beast's parser aborted.)
TEST_F(ExchangeTest, TheEndOfAChunkedBodyMayArriveByteByByte) {
  ResponseReader reader(kMaxResponseBytes);
  const std::string_view text = "HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto taken = reader.take(text.substr(i, 1));
    ASSERT_TRUE(taken) << taken.error().message;
    EXPECT_EQ(*taken, i + 1 == text.size());
  }
}

TEST_F(ExchangeTest, ResponseBodyMayHaveExactlyTheMaximumSize) {
  const std::string answer =
      "HTTP/1.1 200 X\r\nContent-Length: 100\r\n\r\n" + std::string(100, ' ');
  const Exchange done = exchange_with(answer, 100);
  ASSERT_TRUE(done.response) << done.response.error().message;
  EXPECT_EQ(done.response->body.size(), 100U);
  const Exchange too_large = exchange_with(answer, 99);
  EXPECT_TRUE(too_large.sent_whole);
  ASSERT_FALSE(too_large.response);
  EXPECT_EQ(too_large.response.error().message, "the response has more than 99 bytes");
}

TEST_F(ExchangeTest, ResponseMemoryIsBoundedByTheMaximumSize) {
  const std::string endless(kMaxHeadBytes + 1, 'a');
  for (const std::string& said : std::initializer_list<std::string>{
           "HTTP/1.1 200 X\r\nContent-Length: 1000000000000000000\r\n\r\n",
           "HTTP/1.1 200 X\r\n\r\n" + std::string(100, ' '),
           "HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n" + std::string(100, ' '),
           "HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n",
           "HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n1;" + endless,
           "HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + endless,
           "HTTP/1.1 200 " + endless, "HTTP/1.1 200 X\r\n" + endless}) {
    const Exchange done = exchange_with(said, 99);
    EXPECT_FALSE(done.response) << said.substr(0, 80);
  }
}

TEST_F(ExchangeTest, ResponseMayArriveInAnyPieces) {
  constexpr std::string_view kAnswer =
      "HTTP/1.1 100 X\r\n\r\nHTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n"
      "2;a=b\r\n{\"\r\n3\r\na\":\r\n2\r\n1}\r\n0\r\nA: b\r\n\r\n";
  for (std::size_t cut = 0; cut < kAnswer.size(); ++cut) {
    ResponseReader reader(kMaxResponseBytes);
    const auto first = reader.take(kAnswer.substr(0, cut));
    ASSERT_TRUE(first) << cut << first.error().message;
    EXPECT_FALSE(*first) << cut;
    const auto second = reader.take(kAnswer.substr(cut));
    ASSERT_TRUE(second) << cut << second.error().message;
    ASSERT_TRUE(*second) << cut;
    EXPECT_EQ(reader.response().body, "{\"a\":1}");
  }
}

}  // namespace
}  // namespace lamina::http
