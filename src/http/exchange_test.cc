// What an exchange says about a request that got no answer. That answers are read right is tested
// with Firecracker's client.
#include "http/exchange.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <stdexcept>
#include <thread>

#include "base/error.h"
#include "sys/unix_socket.h"

namespace lamina::http {
namespace {

class ExchangeTest : public testing::Test {
 protected:
  ExchangeTest() {
    std::string pattern = std::filesystem::temp_directory_path() / "lamina-http-XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp");
    directory_ = pattern;
    path_ = directory_ + "/socket";
    auto listening = sys::listen_at(path_, {});
    if (!listening) throw std::runtime_error(listening.error().message);
    listening_ = std::move(*listening);
  }
  ~ExchangeTest() override { std::filesystem::remove_all(directory_); }

  /// The connection that waits: there is one from the check of an exchange on.
  sys::Fd accepted() const {
    auto connection = sys::accept_connection(listening_.get(), path_);
    if (!connection || !*connection) throw std::runtime_error("nobody has connected");
    return std::move(**connection);
  }

  /// One exchange. The peer reads the whole request, and says `answer` before it closes.
  Exchange exchange_with(const std::string& answer, std::size_t max_answer_bytes) const {
    std::jthread peer;
    Patience patience{.timeout = std::chrono::minutes(1)};
    patience.max_answer_bytes = max_answer_bytes;
    return exchange(path_, {"POST", "/x", "{}"}, patience, [&](int) -> Status {
      peer = std::jthread([connection = accepted(), answer] {
        std::string request;
        while (!request.ends_with("\r\n\r\n{}")) {
          std::array<char, 4096> piece{};
          const ssize_t count = ::recv(connection.get(), piece.data(), piece.size(), 0);
          if (count > 0) request.append(piece.data(), static_cast<std::size_t>(count));
          if (count == 0) return;
        }
        ::send(connection.get(), answer.data(), answer.size(), MSG_NOSIGNAL);
      });
      return {};
    });
  }

  std::string directory_;
  std::string path_;
  sys::Fd listening_;
};

TEST_F(ExchangeTest, WhoIsRefusedByTheCheckGetsNothing) {
  const Exchange done =
      exchange(path_, {"POST", "/x", "{}"}, {.timeout = std::chrono::minutes(1)},
               [](int) -> Status { return fail(ErrorKind::kUsage, "a stranger"); });
  EXPECT_FALSE(done.sent);
  EXPECT_FALSE(done.sent_whole);
  EXPECT_EQ(done.answer.error().message, "a stranger");
}

TEST_F(ExchangeTest, WhereNobodyListensNothingIsSent) {
  listening_.reset();
  const Exchange done = exchange(path_, {"POST", "/x", "{}"}, {.timeout = std::chrono::minutes(1)},
                                 [](int) { return Status(); });
  EXPECT_FALSE(done.sent);
  EXPECT_FALSE(done.sent_whole);
}

TEST_F(ExchangeTest, APeerThatGoesBeforeTheRequestHasNotGotItWhole) {
  const Exchange done = exchange(path_, {"POST", "/x", "{}"}, {.timeout = std::chrono::minutes(1)},
                                 [&](int) -> Status {
                                   accepted().reset();
                                   return {};
                                 });
  EXPECT_TRUE(done.sent);
  EXPECT_FALSE(done.sent_whole);
  EXPECT_FALSE(done.answer);
}

TEST_F(ExchangeTest, APeerThatGoesAfterTheRequestHasGotItWhole) {
  for (const char* said :
       {"", "HTTP/1.1 200 X\r\n", "HTTP/1.1 200 X\r\nContent-Length: 5\r\n\r\n{"}) {
    const Exchange done = exchange_with(said, kMaxAnswerBytes);
    EXPECT_TRUE(done.sent_whole) << said;
    EXPECT_FALSE(done.answer) << said;
  }
}

TEST_F(ExchangeTest, AnAnswerBeginsWithAStatusOfVersion1) {
  for (const char* said : {"HTTP/1.1 204 \r\n\r\n", "HTTP/1.0 200\r\n\r\n{}",
                           "HTTP/1.1 100 X\r\n\r\nHTTP/1.1 404 No such thing\r\n\r\n{}"}) {
    const Exchange done = exchange_with(said, kMaxAnswerBytes);
    EXPECT_TRUE(done.answer) << said << done.answer.error().message;
  }
  for (const char* said :
       {"HTTP/2222221.1 200 X\r\n\r\n{}", "HTTP/2 200\r\n\r\n{}", "HTTP/1.1 2000 X\r\n\r\n{}",
        "HTTP/22222221.1 100 X\r\n\r\nHTTP/1.1 503 X",
        "HTTP/2-1 100 \nHTTP/1.0 033 :\nHTTP/1.1 233 H:\n\nHTTP/1.1 503 \n", "ICY 200 X\r\n\r\n{}",
        "{}"}) {
    const Exchange done = exchange_with(said, kMaxAnswerBytes);
    EXPECT_TRUE(done.sent_whole) << said;
    EXPECT_FALSE(done.answer) << said;
  }
}

TEST_F(ExchangeTest, AnAnswerMayBeAsLargeAsIsSaid) {
  const std::string answer =
      "HTTP/1.1 200 X\r\nContent-Length: 100\r\n\r\n" + std::string(100, ' ');
  const Exchange done = exchange_with(answer, 100);
  ASSERT_TRUE(done.answer) << done.answer.error().message;
  EXPECT_EQ(done.answer->body.size(), 100U);
  const Exchange too_large = exchange_with(answer, 99);
  EXPECT_TRUE(too_large.sent_whole);
  ASSERT_FALSE(too_large.answer);
  EXPECT_EQ(too_large.answer.error().message, "the answer has more than 99 bytes");
}

}  // namespace
}  // namespace lamina::http
