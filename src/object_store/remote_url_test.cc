#include "object_store/remote_url.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

namespace lamina::object_store {
namespace {

Environment variables(std::map<std::string, std::string> values) {
  return [values = std::move(values)](const std::string& name) -> std::optional<std::string> {
    const auto found = values.find(name);
    if (found == values.end()) return std::nullopt;
    return found->second;
  };
}

TEST(RemoteUrl, ReadsAnS3Url) {
  const auto url = parse_remote_url(
      "s3://bkt/a/b?endpoint=https%3A%2F%2Fh:9000&region=eu&path_style=false&ca_file=/ca&profile=p",
      variables({}));
  ASSERT_TRUE(url) << url.error().message;
  EXPECT_EQ(url->s3.bucket, "bkt");
  EXPECT_EQ(url->s3.prefix, "a/b/");
  EXPECT_EQ(url->s3.endpoint, "https://h:9000");
  EXPECT_EQ(url->s3.region, "eu");
  EXPECT_EQ(url->s3.ca_file, "/ca");
  EXPECT_EQ(url->profile, "p");
  EXPECT_FALSE(url->s3.path_style);
}

TEST(RemoteUrl, AnEndpointOfOnesOwnMeansPathStyle) {
  EXPECT_TRUE(parse_remote_url("s3://bkt?endpoint=http://h", variables({}))->s3.path_style);
  EXPECT_FALSE(parse_remote_url("s3://bkt", variables({}))->s3.path_style);
}

TEST(RemoteUrl, TheEnvironmentFillsWhatTheUrlLeavesOut) {
  const auto environment = variables({{"AWS_ENDPOINT_URL", "http://all"},
                                      {"AWS_ENDPOINT_URL_S3", "http://s3"},
                                      {"AWS_REGION", "eu"},
                                      {"AWS_CA_BUNDLE", "/ca"}});
  const auto url = parse_remote_url("s3://bkt/", environment);
  ASSERT_TRUE(url);
  EXPECT_EQ(url->s3.endpoint, "http://s3");
  EXPECT_EQ(url->s3.region, "eu");
  EXPECT_EQ(url->s3.ca_file, "/ca");
  EXPECT_EQ(url->s3.prefix, "");
  EXPECT_EQ(parse_remote_url("s3://bkt?region=us", environment)->s3.region, "us");
}

TEST(RemoteUrl, ReadsADirectory) {
  EXPECT_EQ(parse_remote_url("file:///a%20b/c/", variables({}))->directory, "/a b/c");
  EXPECT_EQ(parse_remote_url("file:///", variables({}))->directory, "/");
}

TEST(RemoteUrl, NameIsThatOfTheOpenStore) {
  for (const char* text : {"s3://bucket", "s3://bucket/some/prefix/", "file:///tmp/"}) {
    const auto url = parse_remote_url(
        text, variables({{"AWS_ACCESS_KEY_ID", "id"}, {"AWS_SECRET_ACCESS_KEY", "secret"}}));
    ASSERT_TRUE(url) << text;
    const auto store = open_remote(
        *url, variables({{"AWS_ACCESS_KEY_ID", "id"}, {"AWS_SECRET_ACCESS_KEY", "secret"}}));
    ASSERT_TRUE(store) << store.error().message;
    EXPECT_EQ(name_of_remote(*url), (*store)->name_of(""));
  }
}

TEST(RemoteUrl, MalformedUrlsAreRejected) {
  for (const char* url :
       {"", "bkt", "http://h/bkt", "s3:bkt", "s3://", "s3://x", "s3://bkt/../x", "s3://bkt?region",
        "s3://bkt?region=", "s3://bkt?colour=red", "s3://bkt?path_style=yes", "s3://bkt?endpoint=h",
        "s3://bkt?region=%2", "file://host/x", "file://", "file://a"}) {
    const auto parsed = parse_remote_url(url, variables({}));
    ASSERT_FALSE(parsed) << url;
    EXPECT_EQ(parsed.error().kind, ErrorKind::kUsage) << url;
  }
}

TEST(RemoteUrl, CredentialsInAUrlAreRefusedAndNotRepeated) {
  for (const char* url : {"s3://AK:SECRET@bkt/x", "s3://bkt?endpoint=http://AK:SECRET@h"}) {
    const auto parsed = parse_remote_url(url, variables({}));
    ASSERT_FALSE(parsed) << url;
    EXPECT_FALSE(parsed.error().message.contains("SECRET"));
  }
}

TEST(RemoteUrl, AMissingDirectoryIsNotFound) {
  const auto url = parse_remote_url("file:///nonexistent/x", variables({}));
  ASSERT_TRUE(url);
  const auto store = open_remote(*url, variables({}));
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().kind, ErrorKind::kNotFound);
  EXPECT_EQ(store.error().remedy, "run: mkdir -p /nonexistent/x");
}

}  // namespace
}  // namespace lamina::object_store
