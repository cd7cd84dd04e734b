#include "object_store/s3_xml.h"

#include <gtest/gtest.h>

#include <span>
#include <string>

namespace lamina::object_store {
namespace {

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

const std::string kTwoObjects =
    R"(<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name>
<EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>
<Contents><Key>a%2Fb+c%2B</Key><LastModified>2015-10-21T07:28:00.000Z</LastModified><Size>5</Size></Contents>
<Contents><Key>d&amp;e</Key><LastModified>2015-10-21T07:28:00.000Z</LastModified><Size>0</Size></Contents>
</ListBucketResult>)";

TEST(S3Xml, ReadsAList) {
  const auto list = list_in(bytes_of(kTwoObjects));
  ASSERT_TRUE(list) << list.error().message;
  EXPECT_TRUE(list->is_truncated);
  ASSERT_EQ(list->entries.size(), 2U);
  EXPECT_EQ(list->entries[0].key, "a/b c+");
  EXPECT_EQ(list->entries[0].size_bytes, 5U);
  EXPECT_EQ(list->entries[1].key, "d&e");
}

TEST(S3Xml, KeysAreNotDecodedWithoutAnEncodingType) {
  std::string text = kTwoObjects;
  text.replace(text.find("<EncodingType>url</EncodingType>"), 32, "");
  const auto list = list_in(bytes_of(text));
  ASSERT_TRUE(list);
  EXPECT_EQ(list->entries[0].key, "a%2Fb+c%2B");
}

TEST(S3Xml, TruncatedAnswersAreRejected) {
  for (std::size_t length = 0; length < kTwoObjects.size(); ++length) {
    EXPECT_FALSE(list_in(bytes_of(kTwoObjects.substr(0, length)))) << length;
  }
}

TEST(S3Xml, MalformedObjectsAreRejected) {
  for (const auto& [from, to] : std::vector<std::pair<std::string, std::string>>{
           {"<Size>5</Size>", "<Size>-5</Size>"},
           {"<Size>5</Size>", ""},
           {"<Size>5</Size>", "<Size>99999999999999999999</Size>"},
           {"a%2Fb", "a%2"},
           {"<Key>d&amp;e</Key>", "<Key></Key>"},
           {"2015-10-21T07:28:00.000Z", "yesterday"},
           {"<IsTruncated>true</IsTruncated>", ""},
           {"ListBucketResult", "Other"}}) {
    std::string text = kTwoObjects;
    text.replace(text.find(from), from.size(), to);
    const auto list = list_in(bytes_of(text));
    ASSERT_FALSE(list) << to;
    EXPECT_EQ(list.error().kind, ErrorKind::kCorrupt);
  }
}

TEST(S3Xml, ReadsAListOfUploads) {
  const std::string text =
      R"(<ListMultipartUploadsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
<NextKeyMarker>a%2Fb+c</NextKeyMarker><NextUploadIdMarker>2</NextUploadIdMarker>
<EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>
<Upload><Key>a%2Fb</Key><UploadId>1</UploadId><Initiated>1970-01-02T00:00:00.000Z</Initiated></Upload>
<Upload><Key>a%2Fb+c</Key><UploadId>2</UploadId></Upload></ListMultipartUploadsResult>)";
  const auto list = uploads_in(bytes_of(text));
  ASSERT_TRUE(list) << list.error().message;
  EXPECT_TRUE(list->is_truncated);
  EXPECT_EQ(list->next_key, "a/b c");
  EXPECT_EQ(list->next_upload_id, "2");
  ASSERT_EQ(list->uploads.size(), 2U);
  EXPECT_EQ(list->uploads[0].key, "a/b");
  EXPECT_EQ(list->uploads[0].begun, std::chrono::sys_seconds(std::chrono::days(1)));
  EXPECT_EQ(list->uploads[1].upload_id, "2");
  EXPECT_FALSE(list->uploads[1].begun);
  for (std::size_t length = 0; length < text.size(); ++length) {
    EXPECT_FALSE(uploads_in(bytes_of(text.substr(0, length)))) << length;
  }
}

TEST(S3Xml, DocumentTypesAreRejected) {
  std::string text = kTwoObjects;
  text.insert(text.find("<ListBucketResult"),
              R"(<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>)");
  EXPECT_FALSE(list_in(bytes_of(text)));
}

TEST(S3Xml, DeepAnswersAreRejected) {
  std::string text = "<ListBucketResult><IsTruncated>false</IsTruncated>";
  for (int i = 0; i < 1'000'000; ++i) text += "<a>";
  EXPECT_FALSE(list_in(bytes_of(text)));
  EXPECT_FALSE(error_in(bytes_of(text)));
}

TEST(S3Xml, LargeAnswersAreRejected) {
  std::string text = "<Error><Code>NoSuchKey</Code><Message>";
  text += std::string(kMaxXmlBytes, 'x');
  text += "</Message></Error>";
  EXPECT_FALSE(error_in(bytes_of(text)));
}

TEST(S3Xml, ReadsErrors) {
  const auto error = error_in(bytes_of(
      "<Error><Code>NoSuchKey</Code><Message>It is not there.</Message><Key>a</Key></Error>"));
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code, "NoSuchKey");
  EXPECT_EQ(error->message, "It is not there.");
  EXPECT_FALSE(error_in(bytes_of("<html><Code>NoSuchKey</Code></html>")));
  EXPECT_FALSE(error_in(bytes_of("")));
}

TEST(S3Xml, WritesTheListOfParts) {
  EXPECT_EQ(completion_of({{.number = 1, .tag = "\"a\""}, {.number = 2, .tag = "b<"}}),
            "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>\"a\"</ETag></Part>"
            "<Part><PartNumber>2</PartNumber><ETag>b&lt;</ETag></Part></CompleteMultipartUpload>");
}

TEST(S3Xml, ReadsCredentials) {
  const auto credentials = credentials_in(
      bytes_of("<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>"
               "<AccessKeyId>a</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t"
               "</SessionToken><Expiration>2015-10-21T07:28:00Z</Expiration></Credentials>"
               "</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"));
  ASSERT_TRUE(credentials);
  EXPECT_EQ(credentials->access_key, "a");
  EXPECT_EQ(credentials->secret_key, "s");
  EXPECT_EQ(credentials->session_token, "t");
  EXPECT_TRUE(credentials->expires);
  EXPECT_FALSE(credentials_in(bytes_of("<AssumeRoleWithWebIdentityResponse/>")));
}

}  // namespace
}  // namespace lamina::object_store
