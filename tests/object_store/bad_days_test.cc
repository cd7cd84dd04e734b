// An S3 server on bad days: each ends as the outcome that is right for it, within the request's
// limits.
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "object_store/blocking_store.h"
#include "object_store/digest.h"
#include "object_store/s3_store.h"
#include "object_store/scripted_server.h"

namespace lamina::object_store {
namespace {

using std::chrono::milliseconds;
using tests::http_text;
using tests::Reply;
using tests::ScriptedServer;

constexpr const char* kDate = "Date: Wed, 21 Oct 2015 07:28:00 GMT\r\n";

std::string error_text(const std::string& status, const std::string& code,
                       const std::string& headers = {}) {
  return http_text(
      status, headers,
      "<?xml version=\"1.0\"?><Error><Code>" + code + "</Code><Message>text</Message></Error>");
}

/// A store at `url`, whose host's clock says 2015-10-21 07:00:00.
std::unique_ptr<ObjectStore> store_at(const std::string& url) {
  const auto time =
      std::chrono::sys_days(std::chrono::year(2015) / 10 / 21) + std::chrono::hours(7);
  return open_s3_store({.location = {.bucket = "bkt", .endpoint = url, .path_style = true},
                        .credentials = static_source({.access_key = "AK", .secret_key = "SK"}),
                        .clock = [time] { return time; }})
      .value();
}

/// A request that was sent is not known to have failed; the thread that sends it may have to wait
/// for a processor.
constexpr milliseconds kLongEnoughToConnect{1000};

Limits short_limits() {
  return {.deadline = std::chrono::seconds(30),
          .connect = std::chrono::seconds(5),
          .stall = milliseconds(300),
          .min_bytes_per_second = 1000};
}

Request request_for(Operation operation) {
  Request request;
  request.operation = operation;
  request.key = "k";
  request.limits = short_limits();
  return request;
}

Answer run_at(const std::string& url, const Request& request) {
  const auto store = store_at(url);
  return BlockingStore(*store).run(request);
}

/// The answer when the server sends `replies`.
Answer run(std::vector<Reply> replies, const Request& request) {
  ScriptedServer server(std::move(replies));
  return run_at(server.url(), request);
}

const std::string kBody = "some bytes";

Request put_some(Condition condition = Condition::kNone) {
  Request request = request_for(Operation::kPut);
  request.body = std::as_bytes(std::span(kBody));
  request.condition = condition;
  return request;
}

TEST(BadDays, ARefusedConnectionIsUnavailable) {
  for (const Operation operation : {Operation::kGet, Operation::kHead, Operation::kList}) {
    EXPECT_EQ(run_at(tests::refused_url(), request_for(operation)).outcome, Outcome::kUnavailable);
  }
  const Answer put = run_at(tests::refused_url(), put_some());
  EXPECT_EQ(put.outcome, Outcome::kUnavailable);
  EXPECT_FALSE(put.may_have_happened);
}

TEST(BadDays, AnUnknownHostIsUnavailable) {
  EXPECT_EQ(run_at("http://host.invalid", request_for(Operation::kGet)).outcome,
            Outcome::kUnavailable);
}

TEST(BadDays, AnAnswerThatBreaksOffAnywhereIsNeverTheAnswerOfARead) {
  const std::string text = http_text("200 OK", std::string(kDate) + "Connection: close\r\n", kBody);
  const std::string absent = error_text("404 Not Found", "NoSuchKey");
  for (const Reply::Then then : {Reply::Then::kClose, Reply::Then::kReset}) {
    std::vector<Reply> replies;
    for (std::size_t length = 0; length < text.size(); ++length) {
      replies.push_back({.text = text, .length = length, .then = then});
    }
    for (std::size_t length = 0; length < absent.size(); ++length) {
      replies.push_back({.text = absent, .length = length, .then = then});
    }
    const std::size_t count = replies.size();
    ScriptedServer server(std::move(replies));
    const auto store = store_at(server.url());
    for (std::size_t i = 0; i < count; ++i) {
      const Answer answer = BlockingStore(*store).run(request_for(Operation::kGet));
      EXPECT_EQ(answer.outcome, Outcome::kUnavailable) << i << ": " << answer.error.message;
    }
  }
}

TEST(BadDays, AnAnswerThatBreaksOffAnywhereLeavesAWriteUnknown) {
  const std::string text = http_text("200 OK", "ETag: \"x\"\r\nConnection: close\r\n", "");
  for (const Condition condition : {Condition::kNone, Condition::kIfAbsent}) {
    std::vector<Reply> replies;
    for (std::size_t length = 0; length < text.size(); ++length) {
      replies.push_back({.text = text, .length = length});
    }
    ScriptedServer server(std::move(replies));
    const auto store = store_at(server.url());
    for (std::size_t length = 0; length < text.size(); ++length) {
      const Answer answer = BlockingStore(*store).run(put_some(condition));
      EXPECT_EQ(answer.outcome, Outcome::kUnknown) << length << ": " << answer.error.message;
      EXPECT_TRUE(answer.may_have_happened);
    }
  }
}

TEST(BadDays, ABodyThatCouldNotBeSentWasNotStored) {
  const std::vector<std::byte> body(kMaxSinglePutBytes);
  Request put = request_for(Operation::kPut);
  put.body = body;
  const Answer answer = run({{.body_bytes_read = 100'000, .then = Reply::Then::kReset}}, put);
  EXPECT_EQ(answer.outcome, Outcome::kUnavailable) << answer.error.message;
  EXPECT_FALSE(answer.may_have_happened);
}

TEST(BadDays, AConditionalPutIsNeverSentTwice) {
  ScriptedServer server({{.text = http_text("200 OK", "", ""), .then = Reply::Then::kKeep},
                         {.text = ""},
                         {.text = http_text("200 OK", "", "")}});
  const auto store = store_at(server.url());
  BlockingStore blocking(*store);
  ASSERT_TRUE(blocking.run(put_some()).ok());
  // On the connection that is kept, libcurl would send it once more on a new one.
  EXPECT_EQ(blocking.run(put_some(Condition::kIfAbsent)).outcome, Outcome::kUnknown);
  EXPECT_EQ(server.heads().size(), 2U);
}

TEST(BadDays, AKeptConnectionThatIsClosedIsNoFailureOfARead) {
  ScriptedServer server({{.text = http_text("200 OK", "", kBody), .then = Reply::Then::kKeep},
                         {.text = ""},
                         {.text = http_text("200 OK", "", kBody)}});
  const auto store = store_at(server.url());
  BlockingStore blocking(*store);
  ASSERT_TRUE(blocking.get("k").ok());
  EXPECT_TRUE(blocking.get("k").ok());
}

TEST(BadDays, FailuresOfTheServerAreNeverAbsence) {
  const std::string page = "<html>Not here</html>";
  for (const std::string& text :
       {error_text("500 Internal Server Error", "InternalError"),
        error_text("503 Slow Down", "SlowDown"), http_text("429 Too Many Requests", "", ""),
        http_text("502 Bad Gateway", "", page), http_text("504 Gateway Timeout", "", page),
        http_text("404 Not Found", "", page), http_text("404 Not Found", "", "")}) {
    const Answer got = run({{.text = text}}, request_for(Operation::kGet));
    EXPECT_EQ(got.outcome, Outcome::kUnavailable) << text;
    const Answer head = run({{.text = text.substr(0, text.find("\r\n\r\n") + 4)}, {.text = text}},
                            request_for(Operation::kHead));
    EXPECT_EQ(head.outcome, Outcome::kUnavailable) << text;
  }
  EXPECT_EQ(run({{.text = error_text("404 Not Found", "NoSuchKey")}}, request_for(Operation::kGet))
                .outcome,
            Outcome::kAbsent);
}

TEST(BadDays, AHeadThatIsDeniedIsExplainedByAGet) {
  const auto outcome = [](const std::string& status, const std::string& second) {
    return run({{.text = "HTTP/1.1 " + status + "\r\n\r\n"}, {.text = second}},
               request_for(Operation::kHead))
        .outcome;
  };
  EXPECT_EQ(outcome("404 Not Found", error_text("404 Not Found", "NoSuchKey")), Outcome::kAbsent);
  EXPECT_EQ(outcome("404 Not Found", error_text("404 Not Found", "NoSuchBucket")),
            Outcome::kRefused);
  EXPECT_EQ(outcome("403 Forbidden", error_text("403 Forbidden", "AccessDenied")),
            Outcome::kDenied);
  EXPECT_EQ(outcome("404 Not Found",
                    http_text("206 Partial Content", "Content-Range: bytes 0-0/9\r\n", "x")),
            Outcome::kUnavailable);
  EXPECT_EQ(outcome("404 Not Found", error_text("416 Range", "InvalidRange")),
            Outcome::kUnavailable);
  EXPECT_EQ(outcome("404 Not Found", ""), Outcome::kUnavailable);
}

TEST(BadDays, BytesThatWereNotAskedForAreCorrupt) {
  Request range = request_for(Operation::kGet);
  range.range = ByteRange{.offset = 2, .length = 4};
  const auto outcome = [&](const std::string& status, const std::string& headers,
                           const std::string& body) {
    return run({{.text = http_text(status, headers, body)}}, range).outcome;
  };
  const std::string right = "Content-Range: bytes 2-5/10\r\n";
  EXPECT_EQ(outcome("206 Partial Content", right, "abcd"), Outcome::kDone);
  EXPECT_EQ(outcome("206 Partial Content", right, "abc"), Outcome::kCorrupt);
  EXPECT_EQ(outcome("206 Partial Content", right, "abcde"), Outcome::kCorrupt);
  EXPECT_EQ(outcome("206 Partial Content", "Content-Range: bytes 3-6/10\r\n", "abcd"),
            Outcome::kCorrupt);
  EXPECT_EQ(outcome("206 Partial Content", "", "abcd"), Outcome::kCorrupt);
  EXPECT_EQ(outcome("200 OK", "", "0123456789"), Outcome::kCorrupt);
  EXPECT_EQ(outcome("200 OK", "", "abcd"), Outcome::kCorrupt);
}

TEST(BadDays, MoreBytesThanTheBufferHoldsAreNotWritten) {
  std::vector<std::byte> memory(8, std::byte{7});
  Request get = request_for(Operation::kGet);
  get.buffer = std::span(memory).first(4);
  EXPECT_EQ(run({{.text = http_text("200 OK", "", "abcdefgh")}}, get).outcome, Outcome::kCorrupt);
  // Without a Content-Length, too.
  EXPECT_EQ(run({{.text = "HTTP/1.1 200 OK\r\n\r\nabcdefgh"}}, get).outcome, Outcome::kCorrupt);
  for (std::size_t i = 4; i < memory.size(); ++i) EXPECT_EQ(memory[i], std::byte{7});
}

TEST(BadDays, WrongBytesAreCorruptIfTheDigestIsKnown) {
  Request get = request_for(Operation::kGet);
  get.expected_digest = sha256_of(std::string_view(kBody));
  EXPECT_EQ(run({{.text = http_text("200 OK", "", kBody)}}, get).outcome, Outcome::kDone);
  EXPECT_EQ(run({{.text = http_text("200 OK", "", "some bytez")}}, get).outcome, Outcome::kCorrupt);
}

TEST(BadDays, AServerThatDribblesIsUnavailable) {
  const std::string text = http_text("200 OK", "", std::string(10'000, 'x'));
  Request get = request_for(Operation::kGet);
  get.limits.connect = milliseconds(200);
  EXPECT_EQ(run({{.text = text, .pace = milliseconds(20)}}, get).outcome, Outcome::kUnavailable);
  Request put = put_some();
  put.limits.connect = kLongEnoughToConnect;
  EXPECT_EQ(run({{.text = text, .pace = milliseconds(20)}}, put).outcome, Outcome::kUnknown);
}

TEST(BadDays, AServerThatFallsSilentIsUnavailable) {
  const std::string text = http_text("200 OK", "", kBody);
  for (const std::size_t length : {std::size_t{0}, text.size() - 5}) {
    Request get = request_for(Operation::kGet);
    get.limits.connect = milliseconds(200);
    EXPECT_EQ(run({{.text = text, .length = length, .then = Reply::Then::kHang}}, get).outcome,
              Outcome::kUnavailable);
    Request put = put_some();
    put.limits.connect = kLongEnoughToConnect;
    EXPECT_EQ(run({{.text = text, .length = length, .then = Reply::Then::kHang}}, put).outcome,
              Outcome::kUnknown);
  }
}

TEST(BadDays, TheDeadlineEndsEveryRequest) {
  Request complete = request_for(Operation::kCompleteUpload);
  complete.parts = {{.number = 1, .tag = "x"}};
  complete.limits.stall = milliseconds(100);  // does not apply to it
  complete.limits.deadline = kLongEnoughToConnect;
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(run({{.text = "", .then = Reply::Then::kHang}}, complete).outcome, Outcome::kUnknown);
  EXPECT_GE(std::chrono::steady_clock::now() - start, milliseconds(900));
  Request get = request_for(Operation::kGet);
  get.limits.deadline = milliseconds(300);
  get.limits.stall = std::chrono::hours(1);
  EXPECT_EQ(run({{.text = "", .then = Reply::Then::kHang}}, get).outcome, Outcome::kUnavailable);
}

TEST(BadDays, TheDeadlineCountsTheTimeInTheQueue) {
  ScriptedServer server(std::vector<Reply>(1, {.text = "", .then = Reply::Then::kHang}));
  auto store =
      open_s3_store({.location = {.bucket = "bkt", .endpoint = server.url(), .path_style = true},
                     .credentials = static_source({.access_key = "AK", .secret_key = "SK"}),
                     .max_parallel = 1})
          .value();
  Request get = request_for(Operation::kGet);
  get.limits.stall = std::chrono::hours(1);
  store->start(get, [](const Answer&) {});
  while (server.heads().empty()) ASSERT_TRUE(store->advance(milliseconds(1)));
  Request put = put_some();
  put.limits.deadline = milliseconds(50);
  const Answer answer = BlockingStore(*store).run(put);
  EXPECT_EQ(answer.outcome, Outcome::kUnavailable) << answer.error.message;
  EXPECT_FALSE(answer.may_have_happened);
  EXPECT_EQ(server.heads().size(), 1U);
}

TEST(BadDays, AWrongClockIsCorrectedByTheServers) {
  ScriptedServer server({{.text = error_text("403 Forbidden", "RequestTimeTooSkewed", kDate)},
                         {.text = http_text("200 OK", kDate, kBody), .then = Reply::Then::kKeep},
                         {.text = http_text("200 OK", kDate, kBody)}});
  const auto store = store_at(server.url());
  BlockingStore blocking(*store);
  EXPECT_TRUE(blocking.run(request_for(Operation::kGet)).ok());
  EXPECT_TRUE(blocking.run(request_for(Operation::kGet)).ok());
  const auto heads = server.heads();
  ASSERT_EQ(heads.size(), 3U);
  EXPECT_TRUE(heads[0].contains("x-amz-date: 20151021T070000Z"));
  EXPECT_TRUE(heads[1].contains("x-amz-date: 20151021T072800Z"));
  EXPECT_TRUE(heads[2].contains("x-amz-date: 20151021T072800Z"));
}

TEST(BadDays, AWrongClockIsCorrectedOnce) {
  const std::string skewed = error_text("403 Forbidden", "RequestTimeTooSkewed", kDate);
  EXPECT_EQ(run({{.text = skewed}, {.text = skewed}, {.text = http_text("200 OK", "", kBody)}},
                request_for(Operation::kGet))
                .outcome,
            Outcome::kDenied);
  for (const char* date : {"", "Date: yesterday\r\n"}) {
    EXPECT_EQ(run({{.text = error_text("403 Forbidden", "RequestTimeTooSkewed", date)},
                   {.text = http_text("200 OK", "", kBody)}},
                  request_for(Operation::kGet))
                  .outcome,
              Outcome::kDenied);
  }
}

TEST(BadDays, AWrongClockIsCorrectedForAHeadToo) {
  EXPECT_TRUE(run({{.text = "HTTP/1.1 403 Forbidden\r\n\r\n"},
                   {.text = error_text("403 Forbidden", "RequestTimeTooSkewed", kDate)},
                   {.text = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"}},
                  request_for(Operation::kHead))
                  .ok());
}

TEST(BadDays, RedirectsAreNotFollowed) {
  ScriptedServer server(
      {{.text = error_text("307 Temporary Redirect", "TemporaryRedirect",
                           "Location: http://127.0.0.1:1/\r\nx-amz-bucket-region: eu\r\n")},
       {.text = http_text("200 OK", "", kBody)}});
  const Answer answer = run_at(server.url(), request_for(Operation::kGet));
  EXPECT_EQ(answer.outcome, Outcome::kRefused);
  EXPECT_EQ(answer.error.remedy, "set region=eu");
  EXPECT_EQ(server.heads().size(), 1U);
}

TEST(BadDays, WhatIsNotHttpIsUnavailable) {
  for (const std::string& text : std::vector<std::string>{
           std::string("hello\r\n\r\n"), std::string("HTTP/1.1 OK\r\n\r\n"),
           std::string(200'000, 'x'), "HTTP/1.1 200 OK\r\n" + std::string(200'000, 'x'),
           "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nxxxxx",
           "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"}) {
    EXPECT_EQ(run({{.text = text}}, request_for(Operation::kGet)).outcome, Outcome::kUnavailable)
        << text.substr(0, 60);
    EXPECT_EQ(run({{.text = text}}, put_some()).outcome, Outcome::kUnknown) << text.substr(0, 60);
  }
}

TEST(BadDays, AnEndlessErrorIsCut) {
  std::string text = "HTTP/1.1 403 Forbidden\r\n\r\n";
  text.append(std::size_t{4} << 20, 'x');
  EXPECT_EQ(run({{.text = text}}, request_for(Operation::kGet)).outcome, Outcome::kDenied);
}

TEST(BadDays, HostileListsAreCorrupt) {
  const std::string start = "<ListBucketResult><IsTruncated>false</IsTruncated>";
  std::string deep = start;
  for (int i = 0; i < 100'000; ++i) deep += "<a>";
  for (const std::string& body :
       std::vector<std::string>{std::string(), std::string("<html/>"), start, deep,
                                "<!DOCTYPE x [<!ENTITY a SYSTEM \"file:///etc/passwd\">]>" + start +
                                    "</ListBucketResult>",
                                start + "<Contents><Key>a</Key></Contents></ListBucketResult>"}) {
    EXPECT_EQ(run({{.text = http_text("200 OK", "", body)}}, request_for(Operation::kList)).outcome,
              Outcome::kCorrupt)
        << body.substr(0, 80);
  }
}

TEST(BadDays, ExpiredCredentialsAreRenewedOnce) {
  const std::string expired = error_text("400 Bad Request", "ExpiredToken");
  EXPECT_TRUE(run({{.text = expired}, {.text = http_text("200 OK", "", kBody)}},
                  request_for(Operation::kGet))
                  .ok());
  EXPECT_EQ(run({{.text = expired}, {.text = expired}}, request_for(Operation::kGet)).outcome,
            Outcome::kDenied);
}

}  // namespace
}  // namespace lamina::object_store
