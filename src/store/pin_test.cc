#include "store/pin.h"

#include <gtest/gtest.h>

#include <span>
#include <string>

namespace lamina::store {
namespace {

PinFacts facts() {
  PinFacts facts;
  facts.pid = 4711;
  facts.start_time = 987654321;
  facts.boot_id = "7a1f6e0e-2f0e-4d3c-9a0a-0123456789ab";
  facts.uid = 1000;
  facts.api_socket = "/run/vm/api.sock";
  facts.jail = "/srv/jail/vm/root";
  facts.snapshot = "vm-2";
  facts.by_page_faults = true;
  facts.since = "2026-08-01T12:00:00Z";
  return facts;
}

Result<PinFacts> decoded(const std::string& text) {
  return decode_pin_facts(std::as_bytes(std::span(text)));
}

TEST(PinFactsTest, PageServerOptionsSurviveARoundTrip) {
  for (const Populate populate : {Populate::kNone, Populate::kWorkingSet, Populate::kAll}) {
    for (const bool record : {false, true}) {
      PinFacts pin = facts();
      pin.populate = populate;
      pin.record = record;
      const auto again = decoded(encode_pin_facts(pin));
      ASSERT_TRUE(again) << again.error().message;
      EXPECT_EQ(*again, pin);
    }
  }
}

TEST(PinFactsTest, PageServerOptionsMayBeAbsent) {
  const std::string text = encode_pin_facts(facts());
  EXPECT_EQ(text.find("populate"), std::string::npos);
  EXPECT_EQ(text.find("record"), std::string::npos);
  const auto again = decoded(text);
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(*again, facts());
}

TEST(PinFactsTest, UnknownPopulateWordIsNamed) {
  PinFacts pin = facts();
  pin.populate = Populate::kWorkingSet;
  std::string text = encode_pin_facts(pin);
  text.replace(text.find("working-set"), 11, "some-of-it!");
  const auto again = decoded(text);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().kind, ErrorKind::kCorrupt);
  EXPECT_NE(again.error().message.find("'populate'"), std::string::npos) << again.error().message;

  pin.record = true;
  text = encode_pin_facts(pin);
  text.replace(text.find("\"record\": true"), 14, "\"record\": 1");
  const auto wrong = decoded(text);
  ASSERT_FALSE(wrong);
  EXPECT_NE(wrong.error().message.find("'record'"), std::string::npos) << wrong.error().message;
}

}  // namespace
}  // namespace lamina::store
