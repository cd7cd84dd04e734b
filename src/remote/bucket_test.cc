#include "remote/bucket.h"

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "object_store/directory_store.h"
#include "remote/catalogue.h"
#include "remote/contents.h"
#include "remote/names.h"
#include "scratch_directory.h"

namespace lamina::remote {
namespace {

std::span<const std::byte> view_of_text(std::string_view text) {
  return std::as_bytes(std::span(text));
}

/// A store whose lists have another key in place of one.
class MisspelledStore final : public object_store::ObjectStore {
 public:
  MisspelledStore(object_store::ObjectStore& inner, std::string key, std::string wrong, int lists)
      : inner_(inner), key_(std::move(key)), wrong_(std::move(wrong)), lists_(lists) {}

  RequestId start(object_store::Request request, Completion completion) override {
    return inner_.start(std::move(request), [this, completion = std::move(completion)](
                                                object_store::Answer answer) mutable {
      for (object_store::Entry& entry : answer.entries) {
        if (entry.key == key_ && lists_-- > 0) entry.key = wrong_;
      }
      completion(std::move(answer));
    });
  }
  void cancel(RequestId id) override { inner_.cancel(id); }
  [[nodiscard]] int poll_fd() const override { return inner_.poll_fd(); }
  Status advance(std::chrono::milliseconds timeout) override { return inner_.advance(timeout); }
  [[nodiscard]] std::size_t pending() const override { return inner_.pending(); }
  [[nodiscard]] std::string name_of(std::string_view key) const override {
    return inner_.name_of(key);
  }

 private:
  object_store::ObjectStore& inner_;
  std::string key_;
  std::string wrong_;
  int lists_;
};

class BucketTest : public testing::Test {
 protected:
  std::unique_ptr<object_store::ObjectStore> open() {
    object_store::DirectoryOptions options;
    options.path = scratch_.path().string();
    auto opened = object_store::open_directory_store(options);
    EXPECT_TRUE(opened) << opened.error().message;
    return std::move(*opened);
  }

  /// A removal of "web" that has the id.
  std::vector<std::byte> removal(const Uuid& bucket_id) {
    Record record;
    record.kind = RecordKind::kRemoval;
    record.bucket_id = bucket_id;
    record.nonce = Uuid::random();
    record.place = place_;
    return encode_record(record, packed::SealAlgorithm::kNone, {}, {});
  }

  tests::ScratchDirectory scratch_;
  const RecordPlace place_{"web", 1};
};

TEST_F(BucketTest, AnIdIsMadeOnceAndStays) {
  const auto store = open();
  EXPECT_EQ(Bucket(*store).id().error().kind, ErrorKind::kNotFound);
  Bucket bucket(*store);
  const auto made = bucket.make_id();
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_EQ(*bucket.uninterruptible().id(), *made);
  EXPECT_EQ(*Bucket(*store).id(), *made);
  EXPECT_EQ(*Bucket(*store).make_id(), *made);
}

TEST_F(BucketTest, TwoThatMakeAnIdAgree) {
  const auto first_store = open();
  const auto second_store = open();
  Bucket first(*first_store);
  Bucket second(*second_store);
  EXPECT_FALSE(first.id());
  EXPECT_FALSE(second.id());
  const auto made = first.make_id();
  ASSERT_TRUE(made) << made.error().message;
  const auto same = second.make_id();
  ASSERT_TRUE(same) << same.error().message;
  EXPECT_EQ(*same, *made);
}

TEST_F(BucketTest, RecordsAndPinsOfAnotherBucketAreNotBelieved) {
  const auto store = open();
  Bucket bucket(*store);
  ASSERT_TRUE(bucket.make_id());
  ASSERT_TRUE(bucket.put(record_key(place_), removal(*bucket.id())).ok());
  const auto own = read_and_decode(bucket, place_);
  EXPECT_TRUE(own) << own.error().message;
  ASSERT_TRUE(RecordReader(bucket).read_all());

  ASSERT_TRUE(bucket.put(record_key(place_), removal(Uuid::random())).ok());
  EXPECT_EQ(read_and_decode(bucket, place_).error().kind, ErrorKind::kCorrupt);
  EXPECT_EQ(RecordReader(bucket).read_all().error().kind, ErrorKind::kCorrupt);
  EXPECT_EQ(newest_state(bucket, list_records(bucket, "web")->records).error().kind,
            ErrorKind::kCorrupt);

  EXPECT_TRUE(read_pins(bucket));
  const Pin pin{Uuid::random(), Uuid::random(), place_, {}};
  ASSERT_TRUE(bucket.put(pin_key(pin.push_id), encode_pin(pin)).ok());
  EXPECT_EQ(read_pins(bucket).error().kind, ErrorKind::kCorrupt);
}

TEST_F(BucketTest, AnExpectedIdIsBelievedOnceARecordHasIt) {
  const auto store = open();
  const auto made = Bucket(*store).make_id();
  ASSERT_TRUE(made);
  const Uuid other = Uuid::random();
  Bucket bucket(*store, nullptr, *made);
  ASSERT_TRUE(bucket.put(record_key(place_), removal(*made)).ok());
  // Nothing but the record is read.
  const std::filesystem::path format = scratch_.path() / kFormatKey;
  std::filesystem::rename(format, scratch_.path() / "elsewhere");
  EXPECT_TRUE(read_and_decode(bucket, place_));
  EXPECT_EQ(*bucket.id(), *made);
  std::filesystem::rename(scratch_.path() / "elsewhere", format);
  // One that no record has is not.
  Bucket wrong(*store, nullptr, other);
  EXPECT_TRUE(read_and_decode(wrong, place_));
  EXPECT_EQ(*wrong.id(), *made);
  EXPECT_EQ(*Bucket(*store, nullptr, other).id(), *made);
  ASSERT_TRUE(bucket.put(record_key({"web", 2}), removal(Uuid::random())).ok());
  Bucket third(*store, nullptr, *made);
  EXPECT_EQ(read_and_decode(third, {"web", 2}).error().kind, ErrorKind::kCorrupt);
}

TEST_F(BucketTest, RecordsWithoutAFormatAreNotBelievedAndTheRemedyWorks) {
  const auto store = open();
  const Uuid id = Uuid::random();
  {
    Bucket bucket(*store);
    ASSERT_TRUE(bucket.put(record_key(place_), removal(id)).ok());
    const auto refused = read_and_decode(bucket, place_);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().kind, ErrorKind::kCorrupt);
    EXPECT_NE(refused.error().remedy.find("bucket " + id.to_string()), std::string::npos)
        << refused.error().remedy;
    ASSERT_TRUE(bucket.put(std::string(kFormatKey), view_of_text(encode_format(id))).ok());
  }
  Bucket bucket(*store);
  EXPECT_TRUE(read_and_decode(bucket, place_));
}

TEST_F(BucketTest, AFormatThatIsMadeAfterItsFirstReadIsFound) {
  const auto store = open();
  Bucket early(*store);
  EXPECT_EQ(early.id().error().kind, ErrorKind::kNotFound);
  Bucket bucket(*store);
  const auto made = bucket.make_id();
  ASSERT_TRUE(made) << made.error().message;
  ASSERT_TRUE(bucket.put(record_key(place_), removal(*made)).ok());
  const auto read = read_and_decode(early, place_);
  EXPECT_TRUE(read) << read.error().message;
}

TEST_F(BucketTest, AKeyOfADamagedListIsNotTakenForDeleted) {
  const auto plain = open();
  const Pin pin{*Bucket(*plain).make_id(), Uuid::random(), place_, {}};
  {
    Bucket bucket(*plain);
    ASSERT_TRUE(bucket.put(record_key(place_), removal(pin.bucket_id)).ok());
    ASSERT_TRUE(bucket.put(pin_key(pin.push_id), encode_pin(pin)).ok());
  }
  const std::string record = record_key(place_);
  const std::string other_record = record_key({"wep", 1});
  const std::string pin_name = pin_key(pin.push_id);
  const std::string other_pin = pin_key(Uuid::random());
  for (const int lists : {1, 1000}) {
    MisspelledStore records_damaged(*plain, record, other_record, lists);
    Bucket bucket(records_damaged);
    const auto read = RecordReader(bucket).read_all();
    MisspelledStore pins_damaged(*plain, pin_name, other_pin, lists);
    Bucket second(pins_damaged);
    const auto pins = read_pins(second);
    if (lists == 1) {
      ASSERT_TRUE(read) << read.error().message;
      ASSERT_EQ(read->parts.size(), 1U);
      EXPECT_NE(read->parts[0], nullptr);
      ASSERT_TRUE(pins) << pins.error().message;
      EXPECT_EQ(pins->size(), 1U);
    } else {
      EXPECT_EQ(read.error().kind, ErrorKind::kFailed);
      EXPECT_EQ(pins.error().kind, ErrorKind::kFailed);
    }
  }
}

TEST_F(BucketTest, AFormatOfALaterVersionIsRefused) {
  const std::string good = encode_format(Uuid::random());
  EXPECT_TRUE(decode_format(view_of_text(good)));
  std::string later = good;
  later[later.find('1')] = '2';
  for (const std::string& text :
       {later, std::string(), good.substr(0, good.size() - 1), good + "more\n", good + "\n",
        "lamina object tier 1\nbucket " + Uuid().to_string() + "\n"}) {
    EXPECT_FALSE(decode_format(view_of_text(text))) << text;
  }
  const auto store = open();
  Bucket bucket(*store);
  ASSERT_TRUE(bucket.put(std::string(kFormatKey), view_of_text(later)).ok());
  const auto refused = Bucket(*store).make_id();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kCorrupt);
  EXPECT_NE(refused.error().message.find(kFormatKey), std::string::npos);
}

TEST_F(BucketTest, AbsenceIsConfirmedByAList) {
  const auto store = open();
  Bucket bucket(*store);
  EXPECT_EQ(bucket.absence_of(record_key(place_)).kind, ErrorKind::kNotFound);
  ASSERT_TRUE(bucket.put(record_key({"web", 10}), removal(Uuid::random())).ok());
  EXPECT_EQ(bucket.absence_of(record_key(place_)).kind, ErrorKind::kNotFound);
  ASSERT_TRUE(bucket.put(record_key(place_), removal(Uuid::random())).ok());
  EXPECT_EQ(bucket.absence_of(record_key(place_)).kind, ErrorKind::kFailed);
}

}  // namespace
}  // namespace lamina::remote
