#include "object_store/s3_request.h"

#include <gtest/gtest.h>

#include <span>
#include <string>

namespace lamina::object_store {
namespace {

const Credentials kKeys{.access_key = "AK", .secret_key = "SK", .session_token = "TOKEN"};
constexpr auto kTime = std::chrono::sys_seconds(std::chrono::seconds(1'700'000'000));

std::string header_in(const HttpRequest& request, std::string_view name) {
  for (const auto& [known, value] : request.headers) {
    if (known == name) return value;
  }
  return {};
}

HttpRequest http_of(const S3Location& location, const Request& request) {
  const auto endpoint = endpoint_of(location);
  EXPECT_TRUE(endpoint);
  auto http =
      http_request_of(*endpoint, request, request.body, {.credentials = kKeys, .now = kTime});
  EXPECT_TRUE(http);
  return *http;
}

Request put_of(const std::string& key, std::span<const std::byte> body) {
  Request request;
  request.operation = Operation::kPut;
  request.key = key;
  request.body = body;
  return request;
}

TEST(S3Request, NamesTheBucketInTheHostOrInThePath) {
  const Request put = put_of("a b/c+d", {});
  EXPECT_EQ(http_of({.bucket = "bkt", .region = "eu-north-1"}, put).url,
            "https://bkt.s3.eu-north-1.amazonaws.com/a%20b/c%2Bd");
  EXPECT_EQ(http_of({.bucket = "bkt",
                     .prefix = "p/",
                     .endpoint = "http://localhost:9000/",
                     .path_style = true},
                    put)
                .url,
            "http://localhost:9000/bkt/p/a%20b/c%2Bd");
  // A certificate of *.s3.amazonaws.com does not cover it.
  EXPECT_EQ(http_of({.bucket = "b.k.t"}, put).url,
            "https://s3.us-east-1.amazonaws.com/b.k.t/a%20b/c%2Bd");
}

TEST(S3Request, SignsTheBodyOnlyWithoutEncryption) {
  const std::string text = "hello";
  const Request put = put_of("k", std::as_bytes(std::span(text)));
  const HttpRequest open = http_of({.bucket = "bkt", .endpoint = "http://h"}, put);
  EXPECT_EQ(header_in(open, "x-amz-content-sha256"),
            "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
  const HttpRequest encrypted = http_of({.bucket = "bkt", .endpoint = "https://h"}, put);
  EXPECT_EQ(header_in(encrypted, "x-amz-content-sha256"), "UNSIGNED-PAYLOAD");
  EXPECT_EQ(header_in(encrypted, "content-md5"), "XUFAKrxLKna5cZ2REBfFkg==");
  EXPECT_TRUE(header_in(encrypted, "authorization").contains("content-md5;host;"));
}

TEST(S3Request, ConditionalPutsAreSentOnceAndSignTheCondition) {
  Request put = put_of("k", {});
  put.condition = Condition::kIfAbsent;
  const HttpRequest http = http_of({.bucket = "bkt"}, put);
  EXPECT_EQ(header_in(http, "if-none-match"), "*");
  EXPECT_TRUE(header_in(http, "authorization").contains("if-none-match;"));
  EXPECT_TRUE(http.is_sent_once);
}

TEST(S3Request, WhatMustNotHappenTwiceIsSentOnce) {
  Request put = put_of("k", {});
  EXPECT_FALSE(http_of({.bucket = "bkt"}, put).is_sent_once);
  put.may_be_sent_again = false;
  EXPECT_TRUE(http_of({.bucket = "bkt"}, put).is_sent_once);
}

TEST(S3Request, TheRangeIsNotSigned) {
  Request get;
  get.operation = Operation::kGet;
  get.key = "k";
  const std::string whole = header_in(http_of({.bucket = "bkt"}, get), "authorization");
  get.range = ByteRange{.offset = 5, .length = 10};
  const HttpRequest part = http_of({.bucket = "bkt"}, get);
  EXPECT_EQ(header_in(part, "range"), "bytes=5-14");
  EXPECT_EQ(header_in(part, "authorization"), whole);
}

TEST(S3Request, SendsTheSessionTokenSigned) {
  const HttpRequest http = http_of({.bucket = "bkt"}, put_of("k", {}));
  EXPECT_EQ(header_in(http, "x-amz-security-token"), "TOKEN");
  EXPECT_TRUE(header_in(http, "authorization").contains("x-amz-security-token"));
}

TEST(S3Request, ListsBelowThePrefix) {
  Request list;
  list.operation = Operation::kList;
  list.key = "v1/";
  list.after = "v1/a";
  EXPECT_EQ(
      http_of({.bucket = "bkt", .prefix = "p/", .endpoint = "http://h", .path_style = true}, list)
          .url,
      "http://h/bkt/?encoding-type=url&list-type=2&max-keys=1000&prefix=p%2Fv1%2F"
      "&start-after=p%2Fv1%2Fa");
}

TEST(S3Request, LeavesOutTheUsualPort) {
  EXPECT_EQ(origin_of("https://h:443")->host, "h");
  EXPECT_EQ(origin_of("http://h:80")->host, "h");
  EXPECT_EQ(origin_of("http://h:443")->host, "h:443");
  EXPECT_EQ(origin_of("http://[::1]:9000")->host, "[::1]:9000");
}

TEST(S3Request, MalformedLocationsAreRejected) {
  for (const char* url : {"", "h", "ftp://h", "http://", "http://user@h", "http://h/path",
                          "http://h?x", "http://h\nx", "http://h b"}) {
    EXPECT_FALSE(origin_of(url)) << url;
  }
  EXPECT_FALSE(endpoint_of({.bucket = "x"}));
  EXPECT_FALSE(endpoint_of({.bucket = "a/b"}));
  EXPECT_FALSE(endpoint_of({.bucket = "../.."}));
  EXPECT_FALSE(endpoint_of({.bucket = "bkt", .region = "a b"}));
  EXPECT_FALSE(endpoint_of({.bucket = "bkt", .prefix = "../"}));
}

}  // namespace
}  // namespace lamina::object_store
