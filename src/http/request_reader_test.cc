#include "http/request_reader.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

namespace lamina::http {
namespace {

constexpr std::size_t kMaxHead = 1024;
constexpr std::size_t kMaxBody = 64;

/// The status with which `text` is rejected; 0: it is not rejected.
unsigned rejection(std::string_view text) {
  RequestReader reader(kMaxHead, kMaxBody);
  const auto taken = reader.take(text);
  return taken ? 0 : taken.error().status;
}

ServerRequest read_whole(std::string_view text) {
  RequestReader reader(kMaxHead, kMaxBody);
  const auto taken = reader.take(text);
  EXPECT_TRUE(taken && *taken) << text;
  return reader.next();
}

TEST(RequestReader, ReadsARequestInPiecesOfAnySize) {
  const std::string text =
      "\r\nPOST /a%20b/%2e+?x=1&y=%26+z&x=2&& HTTP/1.1\r\nHost: h\r\nContent-Length: "
      "5\r\n\r\nhello";
  for (std::size_t size = 1; size <= text.size(); ++size) {
    RequestReader reader(kMaxHead, kMaxBody);
    for (std::size_t at = 0; at < text.size(); at += size) {
      const auto taken = reader.take(std::string_view(text).substr(at, size));
      ASSERT_TRUE(taken) << taken.error().message;
      ASSERT_EQ(*taken, at + size >= text.size()) << size;
    }
    EXPECT_TRUE(reader.keeps_alive());
    const ServerRequest request = reader.next();
    EXPECT_EQ(request.method, "POST");
    EXPECT_EQ(request.path, "/a b/.+");
    EXPECT_EQ(request.query, (std::map<std::string, std::string>{{"x", "2"}, {"y", "& z"}}));
    EXPECT_EQ(request.body, "hello");
    EXPECT_FALSE(reader.has_bytes());
  }
}

TEST(RequestReader, ReadsAChunkedBodyInPiecesOfAnySize) {
  const std::string text =
      "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n1\r\nd\r\n0\r\n\r\n";
  for (std::size_t size = 1; size <= text.size(); ++size) {
    RequestReader reader(kMaxHead, kMaxBody);
    for (std::size_t at = 0; at < text.size(); at += size) {
      const auto taken = reader.take(std::string_view(text).substr(at, size));
      ASSERT_TRUE(taken) << taken.error().message;
      ASSERT_EQ(*taken, at + size >= text.size()) << size;
    }
    EXPECT_EQ(reader.next().body, "abcd");
  }
}

TEST(RequestReader, ReadsOneRequestAfterAnother) {
  RequestReader reader(kMaxHead, kMaxBody);
  auto taken = reader.take(
      "GET /1 HTTP/1.1\r\n\r\nPUT /2 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
      "2\r\nab\r\n1\r\nc\r\n0\r\n\r\n\r\nGET /3 HTTP/1.0\r\n\r\n");
  ASSERT_TRUE(taken && *taken);
  EXPECT_EQ(reader.next().path, "/1");
  EXPECT_TRUE(reader.has_bytes());
  taken = reader.take({});
  ASSERT_TRUE(taken && *taken);
  EXPECT_TRUE(reader.keeps_alive());
  const ServerRequest second = reader.next();
  EXPECT_EQ(second.path, "/2");
  EXPECT_EQ(second.body, "abc");
  taken = reader.take({});
  ASSERT_TRUE(taken && *taken);
  EXPECT_FALSE(reader.keeps_alive());
  EXPECT_TRUE(reader.is_http_1_0());
  EXPECT_EQ(reader.next().path, "/3");
  taken = reader.take({});
  EXPECT_TRUE(taken && !*taken);
}

TEST(RequestReader, EscapesThatAreInvalidStayAsTheyAre) {
  EXPECT_EQ(read_whole("GET /%zz%4?a=%f HTTP/1.1\r\n\r\n").path, "/%zz%4");
  EXPECT_EQ(read_whole("GET /?%41 HTTP/1.1\r\n\r\n").query.at("A"), "");
}

TEST(RequestReader, ANulInTheTargetIsRejected) {
  EXPECT_EQ(rejection("GET /a%00b HTTP/1.1\r\n\r\n"), 400U);
  EXPECT_EQ(rejection("GET /?a=%00 HTTP/1.1\r\n\r\n"), 400U);
  EXPECT_EQ(rejection("GET /?%00=a HTTP/1.1\r\n\r\n"), 400U);
}

TEST(RequestReader, AnythingElseThanHttpIsRejected) {
  for (const std::string_view text :
       {"\x16\x03\x01\x02", "GET\r\n\r\n", "GET / HTTP/2.0\r\n\r\n",
        "GET / HTTP/1.1\r\na b: c\r\n\r\n", "PUT / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        "PUT / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "PUT / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "PUT / HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\n"}) {
    EXPECT_EQ(rejection(text), 400U) << text;
  }
}

TEST(RequestReader, AnUnknownTransferCodingIsRejected) {
  for (const std::string_view coding :
       {"gzip", "chunked, gzip", "gzip, chunked", "chunked, chunked", "chunked,", ", chunked",
        "chunked;q=1", "identity", "xchunked", "", "chunked\r\nTransfer-Encoding: chunked",
        "gzip\r\nTransfer-Encoding: chunked", "chunked\r\nTransfer-Encoding: gzip"}) {
    const std::string text = fmt::format(
        "PUT / HTTP/1.1\r\nTransfer-Encoding: {}\r\n\r\n0\r\n\r\nGET /next HTTP/1.1\r\n\r\n",
        coding);
    EXPECT_EQ(rejection(text), 400U) << text;
  }
  EXPECT_EQ(
      read_whole("PUT / HTTP/1.1\r\nTransfer-Encoding: \tCHUNKED \r\n\r\n1\r\na\r\n0\r\n\r\n").body,
      "a");
}

TEST(RequestReader, ATransferCodingInHttp10IsRejected) {
  EXPECT_EQ(rejection("PUT / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400U);
  EXPECT_EQ(rejection("PUT / HTTP/1.0\r\nTransfer-Encoding: gzip\r\n\r\n"), 400U);
}

TEST(RequestReader, ATransferCodingBesideALengthIsRejected) {
  for (const std::string_view coding : {"chunked", "gzip"}) {
    const std::string field = fmt::format("Transfer-Encoding: {}\r\n", coding);
    for (const std::string& fields :
         {field + "Content-Length: 5\r\n", "Content-Length: 5\r\n" + field}) {
      EXPECT_EQ(rejection("PUT / HTTP/1.1\r\n" + fields + "\r\n0\r\n\r\n"), 400U) << fields;
    }
  }
}

TEST(RequestReader, TheLimitsHold) {
  const std::string large(kMaxHead, 'x');
  EXPECT_EQ(rejection("GET /" + large), 431U);
  EXPECT_EQ(rejection("GET / HTTP/1.1\r\nA: " + large), 431U);
  EXPECT_EQ(rejection("PUT / HTTP/1.1\r\nContent-Length: 65\r\n\r\n"), 413U);
  EXPECT_EQ(rejection("PUT / HTTP/1.1\r\nContent-Length: 64\r\n\r\n"), 0U);
  std::string chunks = "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (int i = 0; i < 3; ++i) chunks += "20\r\n" + std::string(32, 'x') + "\r\n";
  EXPECT_EQ(rejection(chunks), 413U);
}

TEST(RequestReader, ARequestAsksOnceToContinue) {
  RequestReader reader(kMaxHead, kMaxBody);
  auto taken = reader.take("PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n");
  ASSERT_TRUE(taken && !*taken);
  EXPECT_FALSE(reader.takes_continue());
  taken = reader.take("\r\n");
  ASSERT_TRUE(taken && !*taken);
  EXPECT_TRUE(reader.takes_continue());
  EXPECT_FALSE(reader.takes_continue());
  taken = reader.take("ab");
  EXPECT_TRUE(taken && *taken);
}

}  // namespace
}  // namespace lamina::http
