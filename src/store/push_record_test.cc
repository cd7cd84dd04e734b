#include "store/push_record.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <memory>

#include "store/areas.h"
#include "store/open_store.h"

namespace lamina::store {
namespace {

class PushRecords : public testing::Test {
 protected:
  void SetUp() override {
    directory_ =
        std::filesystem::temp_directory_path() / ("lamina-pushed-" + Uuid::random().to_string());
    std::filesystem::create_directory(directory_);
    std::vector<std::string> notes;
    auto opened = open_store(directory_, notes);
    ASSERT_TRUE(opened) << opened.error().message;
    store_ = std::make_unique<Store>(std::move(*opened));
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  /// Of the record that is found; nullopt: there is none.
  [[nodiscard]] std::optional<std::uint64_t> number_of(const Uuid& pause_id,
                                                       const std::string& remote,
                                                       const std::string& name) const {
    const auto record = find_push_record(directory_, pause_id, remote, name);
    return record ? std::optional(record->number) : std::nullopt;
  }

  std::filesystem::path directory_;
  std::unique_ptr<Store> store_;
};

TEST_F(PushRecords, AreReadBackAndReplaced) {
  const Uuid pause = Uuid::random();
  EXPECT_FALSE(find_push_record(directory_, pause, "s3://b/", "web"));
  ASSERT_TRUE(write_push_record(*store_, pause, {"s3://b/", "web", 4}));
  EXPECT_EQ(number_of(pause, "s3://b/", "web"), 4U);
  EXPECT_FALSE(find_push_record(directory_, pause, "s3://b/", "other"));
  EXPECT_FALSE(find_push_record(directory_, pause, "s3://c/", "web"));
  EXPECT_FALSE(find_push_record(directory_, Uuid::random(), "s3://b/", "web"));
  ASSERT_TRUE(write_push_record(*store_, pause, {"s3://b/", "web", 5}));
  EXPECT_EQ(number_of(pause, "s3://b/", "web"), 5U);
}

TEST_F(PushRecords, AreFoundByThePause) {
  const Uuid old_pause = Uuid::random();
  const Uuid pause = Uuid::random();
  const std::vector<Uuid> pauses = {pause, Uuid::random(), old_pause};
  EXPECT_TRUE(push_records_of(directory_, pauses).empty());
  ASSERT_TRUE(write_push_record(*store_, old_pause, {"s3://b/", "template", 4}));
  ASSERT_TRUE(write_push_record(*store_, pause, {"s3://b/", "web", 2}));
  ASSERT_TRUE(write_push_record(*store_, pause, {"s3://c/", "web", 3}));
  ASSERT_TRUE(mark_push(*store_, pause, "s3://b/", "other"));
  const std::vector<PushRecord> found = push_records_of(directory_, pauses);
  ASSERT_EQ(found.size(), 3U);
  const PushRecord web{"s3://b/", "web", 2};
  EXPECT_TRUE(found[0] == web || found[1] == web);
  EXPECT_EQ(found[2], (PushRecord{"s3://b/", "template", 4}));
}

TEST_F(PushRecords, HaveTheIdOfTheBucketIfItIsKnown) {
  const Uuid pause = Uuid::random();
  const PushRecord without{"s3://b/", "web", 4};
  ASSERT_TRUE(write_push_record(*store_, pause, without));
  EXPECT_EQ(find_push_record(directory_, pause, "s3://b/", "web"), without);
  PushRecord with = without;
  with.bucket_id = Uuid::random();
  ASSERT_TRUE(write_push_record(*store_, pause, with));
  EXPECT_EQ(find_push_record(directory_, pause, "s3://b/", "web"), with);
  EXPECT_EQ(number_of(pause, "s3://b/", "web"), 4U);
  const auto file = std::filesystem::directory_iterator(directory_ / kPushedArea)->path();
  std::ofstream(file) << "lamina push record 1\ns3://b/\nweb\n4\nnot an id\n";
  EXPECT_FALSE(find_push_record(directory_, pause, "s3://b/", "web"));
}

TEST_F(PushRecords, DamagedRecordIsNone) {
  const Uuid pause = Uuid::random();
  ASSERT_TRUE(write_push_record(*store_, pause, {"s3://b/", "web", 4}));
  const auto file = std::filesystem::directory_iterator(directory_ / kPushedArea)->path();
  std::ofstream(file) << "lamina push record 1\ns3://b/\nweb\n4";
  EXPECT_FALSE(find_push_record(directory_, pause, "s3://b/", "web"));
}

TEST_F(PushRecords, ThoseOfOtherPausesAreRemoved) {
  const Uuid kept = Uuid::random();
  const Uuid gone = Uuid::random();
  const std::vector<std::vector<Uuid>> lineages = {{kept}};
  EXPECT_TRUE(list_push_records(*store_)->empty());  // there is no area yet
  ASSERT_TRUE(write_push_record(*store_, kept, {"s3://b/", "web", 1}));
  ASSERT_TRUE(write_push_record(*store_, gone, {"s3://b/", "web", 2}));
  ASSERT_TRUE(
      remove_push_records(*store_, unneeded_push_records(*list_push_records(*store_), lineages)));
  EXPECT_EQ(number_of(kept, "s3://b/", "web"), 1U);
  EXPECT_FALSE(find_push_record(directory_, gone, "s3://b/", "web"));
}

TEST_F(PushRecords, NamesOfSeveralLinesAreRefused) {
  EXPECT_FALSE(write_push_record(*store_, Uuid::random(), {"s3://b/\n", "web", 1}));
  EXPECT_FALSE(write_push_record(*store_, Uuid::random(), {"s3://b/", "", 1}));
}

TEST_F(PushRecords, OneThatWasWrittenAfterTheListStays) {
  const Uuid gone = Uuid::random();
  const Uuid late = Uuid::random();
  ASSERT_TRUE(write_push_record(*store_, gone, {"s3://b/", "web", 1}));
  const auto records = list_push_records(*store_);
  ASSERT_TRUE(records);
  ASSERT_TRUE(write_push_record(*store_, late, {"s3://b/", "web", 2}));
  ASSERT_TRUE(remove_push_records(*store_, unneeded_push_records(*records, {})));
  EXPECT_FALSE(was_pushed(directory_, gone));
  EXPECT_TRUE(was_pushed(directory_, late));
}

TEST_F(PushRecords, MarkStaysUntilTheRecordIsWritten) {
  const Uuid pause = Uuid::random();
  const Uuid child = Uuid::random();
  ASSERT_TRUE(mark_push(*store_, pause, "s3://b/", "web"));
  ASSERT_TRUE(mark_push(*store_, pause, "s3://b/", "web"));
  ASSERT_TRUE(mark_push(*store_, child, "s3://b/", "web"));
  EXPECT_TRUE(was_pushed(directory_, pause));
  EXPECT_FALSE(find_push_record(directory_, pause, "s3://b/", "web"));
  const std::vector<std::vector<Uuid>> lineages = {{child, pause}};
  ASSERT_TRUE(
      remove_push_records(*store_, unneeded_push_records(*list_push_records(*store_), lineages)));
  EXPECT_EQ(list_push_records(*store_)->size(), 2U);
  ASSERT_TRUE(write_push_record(*store_, pause, {"s3://b/", "web", 3}));
  EXPECT_EQ(list_push_records(*store_)->size(), 2U);
  EXPECT_EQ(number_of(pause, "s3://b/", "web"), 3U);
  // The mark of the child does not stand for the record of its parent.
  ASSERT_TRUE(
      remove_push_records(*store_, unneeded_push_records(*list_push_records(*store_), lineages)));
  EXPECT_EQ(number_of(pause, "s3://b/", "web"), 3U);
  ASSERT_TRUE(remove_push_records(*store_, unneeded_push_records(*list_push_records(*store_), {})));
  EXPECT_TRUE(list_push_records(*store_)->empty());
}

TEST_F(PushRecords, OfAncestorsTheNewestOfEachPlaceIsKept) {
  const Uuid pause = Uuid::random();
  const Uuid parent = Uuid::random();
  const Uuid older = Uuid::random();
  ASSERT_TRUE(write_push_record(*store_, older, {"s3://b/", "web", 1}));
  ASSERT_TRUE(write_push_record(*store_, older, {"s3://c/", "web", 7}));
  ASSERT_TRUE(write_push_record(*store_, parent, {"s3://b/", "web", 2}));
  const std::vector<std::vector<Uuid>> lineages = {{pause, parent, older}};
  ASSERT_TRUE(
      remove_push_records(*store_, unneeded_push_records(*list_push_records(*store_), lineages)));
  EXPECT_EQ(number_of(parent, "s3://b/", "web"), 2U);
  EXPECT_EQ(number_of(older, "s3://c/", "web"), 7U);
  EXPECT_FALSE(find_push_record(directory_, older, "s3://b/", "web"));
  EXPECT_TRUE(was_pushed(directory_, older));
  EXPECT_FALSE(was_pushed(directory_, pause));
}

}  // namespace
}  // namespace lamina::store
