#include "object_store/s3_answer.h"

#include <gtest/gtest.h>

#include <array>
#include <span>
#include <string>

namespace lamina::object_store {
namespace {

const Credentials kSecret{
    .access_key = "AKACCESS", .secret_key = "SKSECRET", .session_token = "TKTOKEN"};

Request asked(Operation operation) {
  Request request;
  request.operation = operation;
  request.key = "k";
  return request;
}

HttpAnswer http_of(int status, const std::string& code = {}, const std::string& message = {}) {
  HttpAnswer http;
  http.status = status;
  http.was_sent = true;
  const std::string text =
      code.empty() ? "<html>oops</html>"
                   : "<Error><Code>" + code + "</Code><Message>" + message + "</Message></Error>";
  const auto bytes = std::as_bytes(std::span(text));
  http.body.assign(bytes.begin(), bytes.end());
  return http;
}

Answer answer_to(const Request& request, HttpAnswer http) {
  static const S3Endpoint endpoint = *endpoint_of({.bucket = "bkt", .endpoint = "http://h"});
  return answer_of(request, std::move(http), {.endpoint = endpoint, .credentials = kSecret});
}

Outcome outcome_of(Operation operation, int status, const std::string& code = {}) {
  return answer_to(asked(operation), http_of(status, code)).outcome;
}

TEST(S3Answer, OnlyNoSuchKeyIsAbsent) {
  EXPECT_EQ(outcome_of(Operation::kGet, 404, "NoSuchKey"), Outcome::kAbsent);
  EXPECT_EQ(outcome_of(Operation::kGet, 404), Outcome::kUnavailable);
  EXPECT_EQ(outcome_of(Operation::kHead, 404), Outcome::kUnavailable);
  EXPECT_EQ(outcome_of(Operation::kGet, 404, "NoSuchBucket"), Outcome::kRefused);
  EXPECT_EQ(outcome_of(Operation::kGet, 404, "SomethingElse"), Outcome::kRefused);
  EXPECT_EQ(outcome_of(Operation::kGet, 500, "InternalError"), Outcome::kUnavailable);
  EXPECT_EQ(outcome_of(Operation::kPut, 404, "NoSuchKey"), Outcome::kRefused);
}

TEST(S3Answer, RemovingWhatIsAbsentIsDone) {
  EXPECT_EQ(outcome_of(Operation::kRemove, 404, "NoSuchKey"), Outcome::kDone);
  EXPECT_EQ(outcome_of(Operation::kRemove, 404), Outcome::kUnavailable);
  EXPECT_EQ(outcome_of(Operation::kRemove, 204), Outcome::kDone);
}

TEST(S3Answer, FailuresOfTheServerAreUnavailable) {
  for (const int status : {408, 429, 500, 502, 503, 504, 599}) {
    for (const Operation operation : {Operation::kGet, Operation::kPut, Operation::kList}) {
      EXPECT_EQ(outcome_of(operation, status), Outcome::kUnavailable) << status;
    }
  }
  EXPECT_EQ(outcome_of(Operation::kPut, 400, "RequestTimeout"), Outcome::kUnavailable);
  EXPECT_EQ(outcome_of(Operation::kGet, 501), Outcome::kRefused);
}

TEST(S3Answer, AFailedWriteMayHaveHappenedUnlessItWasRejectedAtOnce) {
  const auto may_have_happened = [](int status, const std::string& code) {
    return answer_to(asked(Operation::kPut), http_of(status, code)).may_have_happened;
  };
  EXPECT_TRUE(may_have_happened(500, "InternalError"));
  EXPECT_TRUE(may_have_happened(503, ""));
  EXPECT_TRUE(may_have_happened(504, ""));
  EXPECT_FALSE(may_have_happened(503, "SlowDown"));
  EXPECT_FALSE(may_have_happened(429, ""));
  EXPECT_FALSE(may_have_happened(403, "AccessDenied"));
  EXPECT_FALSE(may_have_happened(409, "ConditionalRequestConflict"));
}

TEST(S3Answer, AConditionThatFailsMeansThatItExists) {
  Request put = asked(Operation::kPut);
  put.condition = Condition::kIfAbsent;
  EXPECT_EQ(answer_to(put, http_of(412, "PreconditionFailed")).outcome, Outcome::kExists);
  EXPECT_EQ(answer_to(put, http_of(412)).outcome, Outcome::kExists);
  EXPECT_EQ(answer_to(put, http_of(409, "ConditionalRequestConflict")).outcome,
            Outcome::kUnavailable);
  EXPECT_EQ(outcome_of(Operation::kPut, 412), Outcome::kRefused);
}

TEST(S3Answer, DamagedBytesAreCorrupt) {
  EXPECT_EQ(outcome_of(Operation::kPut, 400, "BadDigest"), Outcome::kCorrupt);
  EXPECT_EQ(outcome_of(Operation::kPut, 400, "XAmzContentSHA256Mismatch"), Outcome::kCorrupt);
  EXPECT_EQ(outcome_of(Operation::kGet, 416, "InvalidRange"), Outcome::kCorrupt);
}

TEST(S3Answer, DeniedSaysWhatToDo) {
  EXPECT_EQ(outcome_of(Operation::kGet, 403), Outcome::kDenied);
  EXPECT_EQ(outcome_of(Operation::kGet, 401), Outcome::kDenied);
  EXPECT_EQ(outcome_of(Operation::kGet, 400, "ExpiredToken"), Outcome::kDenied);
  const Answer answer = answer_to(asked(Operation::kGet), http_of(403, "SignatureDoesNotMatch"));
  EXPECT_EQ(answer.error.kind, ErrorKind::kPermission);
  EXPECT_FALSE(answer.error.remedy.empty());
}

TEST(S3Answer, AnUnknownAccessKeyIsDeniedWhateverTheStatus) {
  for (const auto& [status, code] :
       {std::pair{403, "InvalidAccessKeyId"}, std::pair{404, "XAdminUserNotFound"}}) {
    const Answer answer = answer_to(asked(Operation::kGet), http_of(status, code));
    EXPECT_EQ(answer.outcome, Outcome::kDenied);
    EXPECT_EQ(answer.error.kind, ErrorKind::kPermission);
    EXPECT_EQ(answer.error.remedy, "check the access key");
  }
}

TEST(S3Answer, ARedirectNamesTheRegion) {
  HttpAnswer http = http_of(301, "PermanentRedirect");
  http.headers["x-amz-bucket-region"] = "eu-north-1";
  const Answer answer = answer_to(asked(Operation::kGet), http);
  EXPECT_EQ(answer.outcome, Outcome::kRefused);
  EXPECT_EQ(answer.error.remedy, "set region=eu-north-1");
}

TEST(S3Answer, SecretsAreCutOutOfMessages) {
  const Answer answer =
      answer_to(asked(Operation::kGet),
                http_of(403, "AccessDenied", "AKACCESS may not, with SKSECRET and TKTOKEN."));
  EXPECT_EQ(answer.error.message,
            "get 's3://bkt/k': status 403 AccessDenied (*** may not, with *** and ***)");
}

TEST(S3Answer, AWriteWithoutAnAnswerIsUnknownOnlyIfItWasSent) {
  HttpAnswer http;
  http.failure = HttpFailure::kBroken;
  http.was_sent = true;
  EXPECT_EQ(answer_to(asked(Operation::kPut), http).outcome, Outcome::kUnknown);
  EXPECT_EQ(answer_to(asked(Operation::kRemove), http).outcome, Outcome::kUnknown);
  EXPECT_EQ(answer_to(asked(Operation::kGet), http).outcome, Outcome::kUnavailable);
  http.was_sent = false;
  EXPECT_EQ(answer_to(asked(Operation::kPut), http).outcome, Outcome::kUnavailable);
  EXPECT_FALSE(answer_to(asked(Operation::kPut), http).may_have_happened);
  http.failure = HttpFailure::kNotTrusted;
  EXPECT_EQ(answer_to(asked(Operation::kGet), http).outcome, Outcome::kRefused);
}

TEST(S3Answer, SuccessWhoseTextBrokeOffIsNotDone) {
  HttpAnswer http;
  http.status = 200;
  http.was_sent = true;
  http.failure = HttpFailure::kBroken;
  EXPECT_EQ(answer_to(asked(Operation::kPut), http).outcome, Outcome::kUnknown);
  EXPECT_EQ(answer_to(asked(Operation::kGet), http).outcome, Outcome::kUnavailable);
}

TEST(S3Answer, RangesThatWereNotAskedForAreCorrupt) {
  Request get = asked(Operation::kGet);
  get.range = ByteRange{.offset = 10, .length = 4};
  HttpAnswer http;
  http.status = 206;
  http.headers["content-range"] = "bytes 10-13/100";
  http.body.resize(4);
  http.body_bytes = 4;
  EXPECT_EQ(answer_to(get, http).outcome, Outcome::kDone);
  http.headers["content-range"] = "bytes 11-14/100";
  EXPECT_EQ(answer_to(get, http).outcome, Outcome::kCorrupt);
  http.headers.clear();
  EXPECT_EQ(answer_to(get, http).outcome, Outcome::kCorrupt);
  http.headers["content-range"] = "bytes 10-13/100";
  http.body_bytes = 3;
  EXPECT_EQ(answer_to(get, http).outcome, Outcome::kCorrupt);
  http.body_bytes = 4;
  http.status = 200;
  EXPECT_EQ(answer_to(get, http).outcome, Outcome::kCorrupt);
}

TEST(S3Answer, BytesOfAnotherContentAreCorrupt) {
  Request get = asked(Operation::kGet);
  get.expected_tag = "\"a\"";
  HttpAnswer http;
  http.status = 200;
  http.headers["etag"] = "\"a\"";
  EXPECT_EQ(answer_to(get, http).outcome, Outcome::kDone);
  EXPECT_EQ(answer_to(get, http).tag, "\"a\"");
  http.headers["etag"] = "W/\"a\"";
  EXPECT_EQ(answer_to(get, http).outcome, Outcome::kDone);
  http.headers["etag"] = "\"b\"";
  EXPECT_EQ(answer_to(get, http).outcome, Outcome::kCorrupt);
  EXPECT_EQ(answer_to(asked(Operation::kGet), http).outcome, Outcome::kDone);
  http.headers.clear();
  EXPECT_EQ(answer_to(get, http).outcome, Outcome::kDone);
}

TEST(S3Answer, ACompletionIsWhatItsTextSays) {
  const auto with_text = [](const std::string& text) {
    HttpAnswer http;
    http.status = 200;
    const auto bytes = std::as_bytes(std::span(text));
    http.body.assign(bytes.begin(), bytes.end());
    return answer_to(asked(Operation::kCompleteUpload), http).outcome;
  };
  EXPECT_EQ(with_text("<CompleteMultipartUploadResult><ETag>x</ETag>"
                      "</CompleteMultipartUploadResult>"),
            Outcome::kDone);
  // Ceph 16.
  EXPECT_EQ(with_text("<CompleteMultipartUploadResult><Key>k</Key><ETag></ETag>"
                      "</CompleteMultipartUploadResult>"),
            Outcome::kDone);
  EXPECT_EQ(with_text("<CompleteMultipartUploadResult><Key>k</Key>"
                      "</CompleteMultipartUploadResult>"),
            Outcome::kUnknown);
  EXPECT_EQ(with_text("<Error><Code>InternalError</Code></Error>"), Outcome::kUnavailable);
  EXPECT_EQ(with_text(""), Outcome::kUnknown);
  EXPECT_EQ(with_text("<html/>"), Outcome::kUnknown);
  EXPECT_EQ(outcome_of(Operation::kCompleteUpload, 404, "NoSuchUpload"), Outcome::kUnknown);
  EXPECT_EQ(outcome_of(Operation::kAbortUpload, 404, "NoSuchUpload"), Outcome::kDone);
  EXPECT_EQ(outcome_of(Operation::kUploadPart, 404, "NoSuchUpload"), Outcome::kRefused);
}

TEST(S3Answer, ListsThatAreNotInOrderOrOfOtherPrefixesAreCorrupt) {
  const auto with_keys = [](const std::array<const char*, 2>& keys) {
    std::string text = "<ListBucketResult><IsTruncated>false</IsTruncated>";
    for (const char* key : keys) {
      text += std::string("<Contents><Key>") + key +
              "</Key><LastModified>2015-10-21T07:28:00Z</LastModified><Size>1</Size></Contents>";
    }
    text += "</ListBucketResult>";
    HttpAnswer http;
    http.status = 200;
    const auto bytes = std::as_bytes(std::span(text));
    http.body.assign(bytes.begin(), bytes.end());
    Request list = asked(Operation::kList);
    list.after = "k1";
    return answer_to(list, http).outcome;
  };
  EXPECT_EQ(with_keys({"k2", "k3"}), Outcome::kDone);
  EXPECT_EQ(with_keys({"k3", "k2"}), Outcome::kCorrupt);
  EXPECT_EQ(with_keys({"k2", "k2"}), Outcome::kCorrupt);
  EXPECT_EQ(with_keys({"k1", "k2"}), Outcome::kCorrupt);
  EXPECT_EQ(with_keys({"k2", "x"}), Outcome::kCorrupt);
}

TEST(S3Answer, TellsTheServersTime) {
  HttpAnswer http = http_of(403);
  http.headers["date"] = "Wed, 21 Oct 2015 07:28:00 GMT";
  EXPECT_TRUE(answer_to(asked(Operation::kGet), http).server_time);
}

}  // namespace
}  // namespace lamina::object_store
