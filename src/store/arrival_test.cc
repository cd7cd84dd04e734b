#include "store/arrival.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "os/directory.h"
#include "scratch_directory.h"
#include "store/arrival_map.h"

namespace lamina::store {
namespace {

class ArrivalMapTest : public testing::Test {
 protected:
  ArrivalMapTest()
      : directory_(*os::open_directory(AT_FDCWD, scratch_.path().string(), scratch_.path())) {}

  tests::ScratchDirectory scratch_;
  os::Fd directory_;
};

TEST_F(ArrivalMapTest, BitsAreThereForTheNextProcess) {
  {
    auto map = ArrivalMap::make(directory_.get(), scratch_.path(), 200, 70);
    ASSERT_TRUE(map) << map.error().message;
    map->set_blocks({60, 10}, true);
    map->set_frame(69, true);
    map->set_state(ArrivalState::kLost);
  }
  auto map = ArrivalMap::open(directory_.get(), scratch_.path());
  ASSERT_TRUE(map) << map.error().message;
  EXPECT_EQ(map->block_count(), 200);
  EXPECT_TRUE(map->has_blocks({60, 10}));
  EXPECT_FALSE(map->has_blocks({59, 2}));
  EXPECT_FALSE(map->has_blocks({69, 2}));
  EXPECT_TRUE(map->has_frame(69));
  EXPECT_FALSE(map->has_frame(68));
  EXPECT_EQ(map->frames_here(), 1);
  EXPECT_EQ(map->state(), ArrivalState::kLost);
  EXPECT_TRUE(*map->is_of_this_boot());
  map->set_blocks({62, 1}, false);
  EXPECT_FALSE(map->has_blocks({60, 10}));
}

TEST_F(ArrivalMapTest, BlocksBehindTheEndCountAsHere) {
  auto map = ArrivalMap::make(directory_.get(), scratch_.path(), 100, 1);
  ASSERT_TRUE(map) << map.error().message;
  map->set_blocks({0, 100}, true);
  EXPECT_TRUE(map->has_blocks({0, 512}));
}

TEST_F(ArrivalMapTest, AnAlteredFileIsRejected) {
  ASSERT_TRUE(ArrivalMap::make(directory_.get(), scratch_.path(), 100, 10));
  const std::string path = scratch_.file(kArrivalMapName);
  const auto size = std::filesystem::file_size(path);
  for (const std::uintmax_t length : {std::uintmax_t{0}, std::uintmax_t{20}, size - 1}) {
    std::filesystem::resize_file(path, length);
    EXPECT_FALSE(ArrivalMap::open(directory_.get(), scratch_.path())) << length;
  }
  std::filesystem::resize_file(path, size);
  for (int at = 0; at < 20; ++at) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(at);
    const char was = static_cast<char>(file.get());
    file.seekp(at);
    file.put(static_cast<char>(was ^ 0x40));
    file.close();
    EXPECT_FALSE(ArrivalMap::open(directory_.get(), scratch_.path())) << at;
    file.open(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(at);
    file.put(was);
  }
}

ArrivalFacts arrival_facts() {
  ArrivalFacts facts;
  facts.id = Uuid::random();
  facts.belongs_to.inode = 7;
  facts.name = "web-1";
  facts.url = "s3://bucket";
  facts.bucket_name = "s3://bucket/";
  facts.remote_name = "web";
  facts.number = 3;
  facts.pause_id = Uuid::random();
  facts.push_id = Uuid::random();
  facts.key_file = "/etc/key";
  facts.fetch_command = {"/usr/bin/lamina", "remote", "fetch"};
  facts.wait_limit = std::chrono::seconds(60);
  facts.layers = {"memfile.1", "memfile.2"};
  return facts;
}

TEST(ArrivalFactsTest, SurviveARoundTrip) {
  const ArrivalFacts facts = arrival_facts();
  const std::string text = encode_arrival_facts(facts);
  const auto again = decode_arrival_facts(std::as_bytes(std::span(text)));
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(*again, facts);
}

TEST(ArrivalFactsTest, TruncatedFactsAreRejected) {
  const std::string text = encode_arrival_facts(arrival_facts());
  for (std::size_t length = 0; length + 2 < text.size(); ++length) {
    EXPECT_FALSE(decode_arrival_facts(std::as_bytes(std::span(text).first(length)))) << length;
  }
}

TEST(BlockRequestTest, SurvivesARoundTrip) {
  const BlockRequest request{{17, 512}, true};
  EXPECT_EQ(decode_block_request(encode_block_request(request)), request);
}

TEST(ArrivalMarkerTest, TheMarkerOfAnArrivalThatHasEndedMeansWhole) {
  const tests::ScratchDirectory scratch;
  const std::string base = scratch.file(".vms/1-2/base");
  std::filesystem::create_directories(base);
  const auto directory = os::open_directory(AT_FDCWD, base, base);
  ASSERT_TRUE(directory);
  EXPECT_FALSE(arrival_of(directory->get(), base)->has_value()) << "no marker";
  const Uuid id = Uuid::random();
  ASSERT_TRUE(write_arrival_marker(directory->get(), base, id));
  EXPECT_FALSE(arrival_of(directory->get(), base)->has_value()) << "no arrival";
  const std::string path = scratch.file(".arriving/" + id.to_string());
  std::filesystem::create_directories(path);
  EXPECT_FALSE(arrival_of(directory->get(), base)->has_value()) << "its snapshot has its name";
  std::filesystem::create_directories(path + "/snapshot");
  EXPECT_FALSE(arrival_of(directory->get(), base)) << "it cannot be read";
}

TEST(ArrivalMarkerTest, AStoreMayBeBelowADirectoryThatIsNamedAsAnArea) {
  const tests::ScratchDirectory scratch;
  const Uuid id = Uuid::random();
  for (const std::string above : {".vms", ".arriving"}) {
    for (const std::string& inside :
         {".arriving/" + id.to_string() + "/snapshot", std::string(".vms/1-2/base")}) {
      const std::string store = scratch.file(above + "/store");
      const std::string path = store + "/" + inside;
      std::filesystem::create_directories(path);
      std::filesystem::create_directories(store + "/.arriving/" + id.to_string() + "/snapshot");
      const auto directory = os::open_directory(AT_FDCWD, path, path);
      ASSERT_TRUE(directory);
      ASSERT_TRUE(write_arrival_marker(directory->get(), path, id));
      const auto found = arrival_of(directory->get(), path);
      ASSERT_FALSE(found) << path << ": found in another place, so it would count as whole";
      EXPECT_EQ(found.error().kind, ErrorKind::kCorrupt) << found.error().message;
      std::filesystem::remove_all(store);
    }
  }
}

}  // namespace
}  // namespace lamina::store
