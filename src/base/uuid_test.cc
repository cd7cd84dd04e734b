#include "lamina/uuid.h"

#include <gtest/gtest.h>

namespace lamina {
namespace {

TEST(Uuid, RoundTripsAsText) {
  const std::string text = "a0b0c001-1111-4222-8333-000000000008";
  const auto id = Uuid::parse(text);
  ASSERT_TRUE(id);
  EXPECT_EQ(id->to_string(), text);
  EXPECT_EQ(id->bytes[0], 0xa0);
}

TEST(Uuid, MalformedTextIsRejected) {
  for (const char* text :
       {"", "a0b0c001", "a0b0c001-1111-4222-8333-00000000000",
        "a0b0c001-1111-4222-8333-0000000000089", "a0b0c001x1111-4222-8333-000000000008",
        "g0b0c001-1111-4222-8333-000000000008"}) {
    const auto id = Uuid::parse(text);
    ASSERT_FALSE(id) << text;
    EXPECT_EQ(id.error().kind, ErrorKind::kUsage);
  }
}

TEST(Uuid, RandomUuidsAreVersion4AndDiffer) {
  const Uuid a = Uuid::random();
  EXPECT_EQ(a.bytes[6] >> 4, 4);
  EXPECT_NE(a, Uuid::random());
  EXPECT_FALSE(a.is_nil());
}

}  // namespace
}  // namespace lamina
