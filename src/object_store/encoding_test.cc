#include "object_store/encoding.h"

#include <gtest/gtest.h>

#include "object_store/sigv4.h"

namespace lamina::object_store {
namespace {

TEST(Encoding, DecodesWhatItEncodes) {
  std::string all;
  for (int value = 0; value < 256; ++value) all += static_cast<char>(value);
  EXPECT_EQ(percent_decoded(percent_encoded(all), true), all);
  EXPECT_EQ(percent_encoded_path("/a b/c+d"), "/a%20b/c%2Bd");
}

TEST(Encoding, PlusIsASpaceOnlyWhereItIsOne) {
  EXPECT_EQ(percent_decoded("a+b%2Bc", true), "a b+c");
  EXPECT_EQ(percent_decoded("a+b", false), "a+b");
}

TEST(Encoding, LonePercentSignsAreRejected) {
  for (const char* text : {"%", "a%2", "%zz", "%2", "%-1", "% 1"}) {
    EXPECT_EQ(percent_decoded(text, true), std::nullopt) << text;
  }
}

TEST(Encoding, ReadsDates) {
  const auto time = time_of_http("Wed, 21 Oct 2015 07:28:00 GMT");
  ASSERT_TRUE(time);
  EXPECT_EQ(signing_time(*time), "20151021T072800Z");
  EXPECT_EQ(time_of_iso8601("2015-10-21T07:28:00.000Z"), time);
  EXPECT_EQ(time_of_iso8601("2015-10-21T07:28:00Z"), time);
}

TEST(Encoding, MalformedDatesAreRejected) {
  const std::string http = "Wed, 21 Oct 2015 07:28:00 GMT";
  const std::string iso = "2015-10-21T07:28:00Z";
  for (std::size_t length = 0; length < http.size(); ++length) {
    EXPECT_EQ(time_of_http(http.substr(0, length)), std::nullopt) << length;
  }
  for (std::size_t length = 0; length < iso.size(); ++length) {
    EXPECT_EQ(time_of_iso8601(iso.substr(0, length)), std::nullopt) << length;
  }
  EXPECT_EQ(time_of_http("Wed, 31 Feb 2015 07:28:00 GMT"), std::nullopt);
  EXPECT_EQ(time_of_http("Wed, 21 Oct 2015 27:28:00 GMT"), std::nullopt);
  EXPECT_EQ(time_of_http("Wed, 21 Foo 2015 07:28:00 GMT"), std::nullopt);
  EXPECT_EQ(time_of_iso8601("2015-13-21T07:28:00Z"), std::nullopt);
  EXPECT_EQ(time_of_iso8601("2015-10-21T07:28:00+02:00Z"), std::nullopt);
}

}  // namespace
}  // namespace lamina::object_store
