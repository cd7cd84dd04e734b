#include "store/snapshot_facts.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <span>
#include <string>

namespace lamina::store {
namespace {

SnapshotFacts facts_with_record() {
  SnapshotFacts facts;
  facts.pause_id = Uuid::random();
  facts.build_id = Uuid::random();
  facts.created = "2026-01-01T00:00:00Z";
  RecordedPhases phases;
  phases.prepare_ms = 1.5;
  phases.create_ms = 20;
  phases.frozen_ms = 0.125;
  facts.pause =
      PauseRecord{.is_diff = false, .reason = "no state of the VM is on record", .phases = phases};
  return facts;
}

Result<SnapshotFacts> decoded_facts(const std::string& text) {
  return decode_facts(std::as_bytes(std::span(text)));
}

/// The facts with another field `pause`.
Result<SnapshotFacts> decoded_with(const nlohmann::json& pause) {
  auto json = nlohmann::json::parse(encode_facts(facts_with_record()));
  json["pause"] = pause;
  return decoded_facts(json.dump());
}

TEST(SnapshotFactsTest, TheRecordOfAPauseIsReadBack) {
  SnapshotFacts facts = facts_with_record();
  for (const bool is_diff : {false, true}) {
    facts.pause->is_diff = is_diff;
    const auto read = decoded_facts(encode_facts(facts));
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(*read, facts);
  }
  facts.pause->phases.reset();
  const auto read = decoded_facts(encode_facts(facts));
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(*read, facts);
}

TEST(SnapshotFactsTest, FactsWithoutARecordHaveNone) {
  SnapshotFacts facts = facts_with_record();
  facts.pause.reset();
  const std::string text = encode_facts(facts);
  EXPECT_EQ(text.find("\"pause\":"), std::string::npos);
  const auto read = decoded_facts(text);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_FALSE(read->pause);
}

TEST(SnapshotFactsTest, AnUnknownRecordIsLeftOutAndTheRestIsRead) {
  for (const char* odd :
       {"null", "1", "[]", "{}", R"({"kind":"other","reason":"r"})", R"({"kind":1,"reason":"r"})",
        R"({"kind":"full"})", R"({"kind":"full","reason":["r"]})"}) {
    const auto read = decoded_with(nlohmann::json::parse(odd));
    ASSERT_TRUE(read) << odd;
    EXPECT_FALSE(read->pause) << odd;
  }
}

TEST(SnapshotFactsTest, UnknownFieldsAndPhasesOfARecordAreIgnored) {
  const auto read = decoded_with(nlohmann::json::parse(
      R"({"kind":"diff","reason":"r","color":7,"phases":{"pause_ms":2,"think_ms":"x"}})"));
  ASSERT_TRUE(read && read->pause && read->pause->phases);
  EXPECT_TRUE(read->pause->is_diff);
  EXPECT_EQ(read->pause->phases->pause_ms, 2);
  EXPECT_EQ(read->pause->phases->create_ms, 0);
}

TEST(SnapshotFactsTest, PhasesThatAreNotTimesAreLeftOut) {
  for (const char* phases : {"[]", "7", R"({"pause_ms":"x"})", R"({"pause_ms":-1})"}) {
    const auto read = decoded_with(
        {{"kind", "full"}, {"reason", "r"}, {"phases", nlohmann::json::parse(phases)}});
    ASSERT_TRUE(read && read->pause) << phases;
    EXPECT_FALSE(read->pause->phases) << phases;
  }
}

TEST(SnapshotFactsTest, ALongReasonIsCutBetweenCharacters) {
  SnapshotFacts facts = facts_with_record();
  facts.pause->reason = std::string(kMaxReasonBytes - 1, 'a') + "\u00e4" + std::string(100, 'b');
  const auto read = decoded_facts(encode_facts(facts));
  ASSERT_TRUE(read && read->pause);
  EXPECT_EQ(read->pause->reason, std::string(kMaxReasonBytes - 1, 'a'));
  const auto long_file =
      decoded_with({{"kind", "full"}, {"reason", std::string(2 * kMaxReasonBytes, 'a')}});
  ASSERT_TRUE(long_file && long_file->pause);
  EXPECT_EQ(long_file->pause->reason.size(), kMaxReasonBytes);
}

}  // namespace
}  // namespace lamina::store
