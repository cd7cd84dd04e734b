#include "remote/names.h"

#include <gtest/gtest.h>

namespace lamina::remote {
namespace {

const Uuid kNamedId = *Uuid::parse("00112233-4455-6677-8899-aabbccddeeff");
const Uuid kNamedPush = *Uuid::parse("10112233-4455-6677-8899-aabbccddeeff");

TEST(RemoteNames, RecordKeysAreReadBack) {
  for (const char* name : {"web-1", "a", "A.b_c", "x@y+z=1:2,3", "web_2D", "0"}) {
    const RecordPlace place{name, 42};
    const std::string key = record_key(place);
    EXPECT_TRUE(key.starts_with(record_prefix(name)));
    const auto parsed = parse_record_key(key);
    ASSERT_TRUE(parsed) << key;
    EXPECT_EQ(*parsed, place);
  }
  EXPECT_EQ(record_key({"a_b.c", 7}), "v1/snapshots/a_5Fb_2Ec.0000000000000007");
}

TEST(RemoteNames, RecordsOfANameAreAllKeysWithItsPrefix) {
  EXPECT_FALSE(record_key({"web.1", 1}).starts_with(record_prefix("web")));
  EXPECT_LT(record_key({"web", 9}), record_key({"web", 10}));
}

TEST(RemoteNames, NamesOfOthersAreNotParsed) {
  for (const char* key :
       {"", "v1/snapshots/", "v1/snapshots/web", "v1/snapshots/web.1",
        "v1/snapshots/web.0000000000000000", "v1/snapshots/web.000000000000000x",
        "v1/snapshots/.0000000000000001", "v1/snapshots/-.0000000000000001",
        "v1/snapshots/../x.0000000000000001", "v1/snapshots/a_.0000000000000001",
        "v1/snapshots/a_2.0000000000000001", "v1/snapshots/a_2e.0000000000000001",
        "v1/snapshots/a_41.0000000000000001", "v1/snapshots/a_00.0000000000000001",
        "v1/snapshots/web.00000000000000001", "v2/snapshots/web.0000000000000001",
        "v1/snapshots/web.+000000000000001"}) {
    EXPECT_FALSE(parse_record_key(key)) << key;
  }
  for (const char* key : {"v1/layers/", "v1/layers/x", "v1/pins/x",
                          "v1/layers/00112233-4455-6677-8899-aabbccddeeff."
                          "10112233-4455-6677-8899-aabbccddeeff-01",
                          "v1/layers/00112233-4455-6677-8899-aabbccddeeff."
                          "10112233-4455-6677-8899-aabbccddeeff-",
                          "v1/layers/00112233-4455-6677-8899-AABBCCDDEEFF."
                          "10112233-4455-6677-8899-aabbccddeeff-1"}) {
    EXPECT_FALSE(parse_object_key(key)) << key;
    EXPECT_FALSE(parse_pin_key(key)) << key;
  }
}

TEST(RemoteNames, ObjectKeysTellWhoMadeThem) {
  const auto layer = parse_object_key(layer_key(kNamedId, kNamedPush, 12));
  ASSERT_TRUE(layer);
  EXPECT_EQ(layer->kind, KindOfObject::kLayer);
  EXPECT_EQ(layer->id, kNamedId);
  EXPECT_EQ(layer->push_id, kNamedPush);
  const auto file = parse_object_key(file_key(kNamedId, kNamedPush, 0));
  ASSERT_TRUE(file);
  EXPECT_EQ(file->kind, KindOfObject::kFile);
  EXPECT_EQ(parse_pin_key(pin_key(kNamedPush)), kNamedPush);
}

TEST(RemoteNames, TombstonesNameTheirObject) {
  for (const std::string& object :
       {layer_key(kNamedId, kNamedPush, 3), file_key(kNamedId, kNamedPush, 0)}) {
    const std::string key = tombstone_key(object, kNamedId);
    EXPECT_TRUE(key.starts_with(tombstone_prefix(object)));
    EXPECT_EQ(parse_tombstone_key(key), object);
  }
  EXPECT_FALSE(tombstone_key(layer_key(kNamedId, kNamedPush, 12), kNamedId)
                   .starts_with(tombstone_prefix(layer_key(kNamedId, kNamedPush, 1))));
  EXPECT_FALSE(parse_tombstone_key("v1/tombstones/layers.x." + kNamedId.to_string()));
}

TEST(RemoteNames, NameOfAConflictFitsAlways) {
  EXPECT_EQ(conflict_name("web", kNamedId), "web@" + kNamedId.to_string());
  for (const std::string& name :
       {std::string(200, 'a'), std::string("a") + std::string(60, '_'), std::string("x")}) {
    EXPECT_TRUE(check_name(conflict_name(name, kNamedId))) << name;
  }
  EXPECT_FALSE(check_name(std::string(100, '.')));
  EXPECT_FALSE(check_name(std::string("a") + std::string(99, '.')));
  EXPECT_FALSE(check_name(""));
  EXPECT_FALSE(check_name("a/b"));
}

}  // namespace
}  // namespace lamina::remote
