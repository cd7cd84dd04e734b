// What a real server does with credentials, clocks and buckets. Skipped without
// $LAMINA_TEST_OBJECT_STORE.
#include <gtest/gtest.h>

#include <chrono>
#include <span>
#include <string>

#include "object_store/blocking_store.h"
#include "object_store/s3_store.h"
#include "object_store/stores.h"

namespace lamina::object_store {
namespace {

class RemoteTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!tests::remote_under_test()) GTEST_SKIP() << "LAMINA_TEST_OBJECT_STORE is not set";
    location_ = tests::remote_under_test()->s3;
    const Environment environment = process_environment();
    keys_ = {.access_key = environment("AWS_ACCESS_KEY_ID").value_or(""),
             .secret_key = environment("AWS_SECRET_ACCESS_KEY").value_or("")};
  }

  std::unique_ptr<ObjectStore> open(std::chrono::seconds clock_error = {}) {
    const auto clock = [clock_error] {
      return std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now()) +
             clock_error;
    };
    return open_s3_store(
               {.location = location_, .credentials = static_source(keys_), .clock = clock})
        .value();
  }

  S3Location location_;
  Credentials keys_;
};

TEST_F(RemoteTest, AWrongSecretIsDenied) {
  keys_.secret_key = "wrong-wrong-wrong";
  const auto store = open();
  BlockingStore blocking(*store);
  for (const Answer& answer :
       {blocking.get("absent"), blocking.head("absent"), blocking.list(""),
        blocking.put("denied", {}), blocking.put("denied", {}, Condition::kIfAbsent)}) {
    EXPECT_EQ(answer.outcome, Outcome::kDenied) << answer.error.message;
    EXPECT_EQ(answer.error.kind, ErrorKind::kPermission);
    EXPECT_FALSE(answer.error.message.contains(keys_.access_key));
    EXPECT_FALSE(answer.may_have_happened);
  }
}

TEST_F(RemoteTest, AnUnknownAccessKeyIsDenied) {
  keys_.access_key = "NOBODY";
  const auto store = open();
  EXPECT_EQ(BlockingStore(*store).get("absent").outcome, Outcome::kDenied);
}

TEST_F(RemoteTest, AMissingBucketIsNotAnAbsentObject) {
  location_.bucket = "no-such-bucket-here";
  const auto store = open();
  BlockingStore blocking(*store);
  for (const Answer& answer : {blocking.get("k"), blocking.head("k"), blocking.list("")}) {
    EXPECT_EQ(answer.outcome, Outcome::kRefused) << answer.error.message;
    EXPECT_EQ(answer.error.kind, ErrorKind::kNotFound) << answer.error.message;
  }
}

TEST_F(RemoteTest, AWrongClockOfThisHostDoesNotMatter) {
  for (const std::chrono::seconds error : {std::chrono::seconds(std::chrono::hours(-5)),
                                           std::chrono::seconds(std::chrono::hours(5))}) {
    const auto store = open(error);
    BlockingStore blocking(*store);
    const Answer head = blocking.head("absent");
    EXPECT_EQ(head.outcome, Outcome::kAbsent) << head.error.message;
    const Answer got = blocking.get("absent");
    EXPECT_EQ(got.outcome, Outcome::kAbsent) << got.error.message;
  }
}

TEST_F(RemoteTest, AServerThatIsNotTrustedIsRefused) {
  if (!location_.endpoint.starts_with("https")) GTEST_SKIP() << "not encrypted";
  location_.ca_file.clear();
  const auto store = open();
  const Answer answer = BlockingStore(*store).get("k");
  EXPECT_EQ(answer.outcome, Outcome::kRefused) << answer.error.message;
  EXPECT_FALSE(answer.error.remedy.empty());
}

}  // namespace
}  // namespace lamina::object_store
