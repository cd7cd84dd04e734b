#include "object_store/key.h"

#include <gtest/gtest.h>

namespace lamina::object_store {
namespace {

TEST(Key, PathsOfSegmentsAreKeys) {
  for (const char* key : {"a", "a/b", "v1/layers/0.x_-", "...", "a/..b", "we ird+%\u00fc=@:,~&"}) {
    EXPECT_TRUE(check_key(key)) << key;
  }
}

TEST(Key, HostileKeysAreRefused) {
  const std::string long_segment(256, 'a');
  std::string long_key = "a";
  while (long_key.size() <= kMaxKeyBytes) long_key += "/aaaaaaaaa";
  for (const std::string& key :
       {std::string(), std::string("/a"), std::string("a/"), std::string("a//b"), std::string(".."),
        std::string("a/../b"), std::string("./a"), std::string("a/."), std::string("a\nb"),
        std::string("a\0b", 3), std::string("a\x7f"), std::string("\xff"), long_segment,
        long_key}) {
    const Status checked = check_key(key);
    ASSERT_FALSE(checked) << key;
    EXPECT_EQ(checked.error().kind, ErrorKind::kUsage);
  }
}

TEST(Key, PrefixesEndAnywhere) {
  for (const char* prefix : {"", "a", "a/", "a/b", "a/.", "a/.."}) {
    EXPECT_TRUE(check_prefix(prefix)) << prefix;
  }
  for (const char* prefix : {"/", "a//", "../a", "a/../"}) {
    EXPECT_FALSE(check_prefix(prefix)) << prefix;
  }
}

TEST(Key, RangesMustNotBeEmptyOrOverflow) {
  Request request;
  request.key = "a";
  request.range = ByteRange{.offset = 0, .length = 0};
  EXPECT_FALSE(check_request(request));
  request.range = ByteRange{.offset = std::numeric_limits<std::uint64_t>::max(), .length = 2};
  EXPECT_FALSE(check_request(request));
  request.range = ByteRange{.offset = 5, .length = std::numeric_limits<std::uint64_t>::max()};
  EXPECT_FALSE(check_request(request));
  request.range = ByteRange{.offset = 5, .length = 2};
  EXPECT_TRUE(check_request(request));
}

}  // namespace
}  // namespace lamina::object_store
