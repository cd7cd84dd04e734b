#include "object_store/sigv4.h"

#include <gtest/gtest.h>

#include "object_store/digest.h"
#include "object_store/encoding.h"

namespace lamina::object_store {
namespace {

constexpr std::string_view kEmptyHash =
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// The credentials of AWS' published examples.
Credentials suite_credentials() {
  return {.access_key = "AKIDEXAMPLE", .secret_key = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"};
}
Credentials s3_credentials() {
  return {.access_key = "AKIAIOSFODNN7EXAMPLE",
          .secret_key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"};
}

std::string signature_of(const std::string& header) {
  return header.substr(header.find("Signature=") + 10);
}

/// The signature of a request of the test suite of Signature Version 4.
std::string suite_signature(SignedParts parts) {
  const auto time = std::chrono::sys_days(std::chrono::year(2015) / 8 / 30) +
                    std::chrono::hours(12) + std::chrono::minutes(36);
  parts.headers.emplace_back("host", "example.amazonaws.com");
  parts.headers.emplace_back("x-amz-date", "20150830T123600Z");
  parts.payload_hash = kEmptyHash;
  return signature_of(authorization(parts, suite_credentials(), "us-east-1", "service", time));
}

/// The signature of an example in the documentation of S3.
std::string s3_signature(SignedParts parts) {
  const auto time = std::chrono::sys_days(std::chrono::year(2013) / 5 / 24);
  parts.headers.emplace_back("host", "examplebucket.s3.amazonaws.com");
  parts.headers.emplace_back("x-amz-date", "20130524T000000Z");
  parts.headers.emplace_back("x-amz-content-sha256", parts.payload_hash);
  return signature_of(authorization(parts, s3_credentials(), "us-east-1", "s3", time));
}

TEST(Sigv4, SignsTheRequestsOfTheSuite) {
  EXPECT_EQ(suite_signature({.method = "GET", .path = "/", .payload_hash = ""}),
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");
  EXPECT_EQ(suite_signature({.method = "POST", .path = "/", .payload_hash = ""}),
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b");
}

TEST(Sigv4, SortsTheQuery) {
  EXPECT_EQ(suite_signature({.method = "GET",
                             .path = "/",
                             .query = {{"Param2", "value2"}, {"Param1", "value1"}},
                             .payload_hash = ""}),
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500");
}

TEST(Sigv4, EncodesPathsAndQueriesInUtf8) {
  EXPECT_EQ(suite_signature(
                {.method = "GET", .path = percent_encoded_path("/\u1234"), .payload_hash = ""}),
            "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85");
  EXPECT_EQ(suite_signature(
                {.method = "GET", .path = "/", .query = {{"\u1234", "bar"}}, .payload_hash = ""}),
            "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04");
}

TEST(Sigv4, SignsTheExamplesOfS3) {
  EXPECT_EQ(s3_signature({.method = "GET",
                          .path = "/test.txt",
                          .headers = {{"range", "bytes=0-9"}},
                          .payload_hash = std::string(kEmptyHash)}),
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
  EXPECT_EQ(
      s3_signature({.method = "PUT",
                    .path = percent_encoded_path("/test$file.text"),
                    .headers = {{"date", "Fri, 24 May 2013 00:00:00 GMT"},
                                {"x-amz-storage-class", "REDUCED_REDUNDANCY"}},
                    .payload_hash = hex_of(sha256_of(std::string_view("Welcome to Amazon S3.")))}),
      "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
  EXPECT_EQ(s3_signature({.method = "GET",
                          .path = "/",
                          .query = {{"lifecycle", ""}},
                          .payload_hash = std::string(kEmptyHash)}),
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
  EXPECT_EQ(s3_signature({.method = "GET",
                          .path = "/",
                          .query = {{"prefix", "J"}, {"max-keys", "2"}},
                          .payload_hash = std::string(kEmptyHash)}),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
}

TEST(Sigv4, TrimsHeaderValues) {
  const SignedParts plain{.method = "GET",
                          .path = "/",
                          .headers = {{"host", "h"}, {"x-amz-meta-a", "b c"}},
                          .payload_hash = std::string(kEmptyHash)};
  SignedParts spaced = plain;
  spaced.headers[1].second = "  b   c ";
  const auto time = std::chrono::sys_seconds(std::chrono::seconds(1'700'000'000));
  EXPECT_EQ(authorization(plain, s3_credentials(), "r", "s3", time),
            authorization(spaced, s3_credentials(), "r", "s3", time));
}

TEST(Sigv4, EncodesEverythingButUnreservedCharactersInAQuery) {
  EXPECT_EQ(canonical_query({{"prefix", "a/b+c=d@e:f~g h&\u00fc"}, {"b", ""}}),
            "b=&prefix=a%2Fb%2Bc%3Dd%40e%3Af~g%20h%26%C3%BC");
}

}  // namespace
}  // namespace lamina::object_store
