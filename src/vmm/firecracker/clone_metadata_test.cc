#include "vmm/firecracker/clone_metadata.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "scratch_directory.h"

namespace lamina::vmm {
namespace {

class MmdsTest : public testing::Test {
 protected:
  Result<std::string> read(const std::string& text) {
    std::ofstream(path_) << text;
    return read_mmds(path_);
  }

  tests::ScratchDirectory scratch_;
  std::string path_ = (std::filesystem::path(scratch_.path()) / "metadata.json").string();
};

TEST_F(MmdsTest, TheIdentityIsAddedToTheContents) {
  const auto contents = read(R"({"user": {"role": "worker"}})");
  ASSERT_TRUE(contents) << contents.error().message;
  const CloneIdentity identity{Uuid::random(), 7, Uuid::random(), "web"};
  const auto made = mmds_for(*contents, identity);
  ASSERT_TRUE(made);
  const auto json = nlohmann::json::parse(*made);
  EXPECT_EQ(json["user"]["role"], "worker");
  EXPECT_EQ(json["lamina"]["resume_id"], identity.resume_id.to_string());
  EXPECT_EQ(json["lamina"]["clone"], "7");
  EXPECT_EQ(json["lamina"]["pause_id"], identity.pause_id.to_string());
  EXPECT_EQ(json["lamina"]["snapshot"], "web");
}

TEST_F(MmdsTest, OtherContentsAreRefused) {
  for (const std::string text : {"", "[]", "{", "7", R"({"lamina": {}})"}) {
    const auto contents = read(text);
    ASSERT_FALSE(contents) << text;
    EXPECT_EQ(contents.error().kind, ErrorKind::kUsage);
  }
  const auto large = read(R"({"a": ")" + std::string(kMaxMmdsBytes, 'x') + "\"}");
  ASSERT_FALSE(large);
  EXPECT_EQ(large.error().kind, ErrorKind::kUsage);
  EXPECT_FALSE(read_mmds(path_ + ".missing"));
}

TEST(GenerationDeviceTest, OldVersionsHaveNone) {
  EXPECT_EQ(generation_device("1.7.0"), "none");
  EXPECT_EQ(generation_device("1.9.0"), "vmgenid");
  EXPECT_EQ(generation_device("1.16.0-dev"), "vmgenid");
  EXPECT_EQ(generation_device("unknown"), "vmgenid");
}

}  // namespace
}  // namespace lamina::vmm
