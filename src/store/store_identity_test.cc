#include "store/store_identity.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "lamina/uuid.h"
#include "scratch_directory.h"

namespace lamina::store {
namespace {

namespace fs = std::filesystem;

constexpr const char* kThisBoot = "7a1f6e0e-2f0e-4d3c-9a0a-0123456789ab";
constexpr const char* kOtherBoot = "7a1f6e0e-2f0e-4d3c-9a0a-ba9876543210";

StoreIdentity here() {
  return {66, 4711, 1'700'000'000'123'456'789, "0123456789abcdef", kThisBoot};
}

TEST(StoreIdentityTest, SameDirectoryInTheSameBootIsOwn) {
  EXPECT_EQ(why_foreign(here(), here()), "");
}

TEST(StoreIdentityTest, WithinOneBootTheDirectoryDecidesNotTheHost) {
  StoreIdentity owner = here();
  owner.host = "fedcba9876543210";  // a container has an id of its own
  EXPECT_EQ(why_foreign(owner, here()), "");
  for (const auto field :
       {&StoreIdentity::device, &StoreIdentity::inode, &StoreIdentity::born_ns}) {
    owner = here();
    owner.*field += 1;
    EXPECT_NE(why_foreign(owner, here()), "");
  }
}

TEST(StoreIdentityTest, AfterAnotherBootTheDeviceIsIgnored) {
  StoreIdentity owner = here();
  owner.boot_id = kOtherBoot;
  owner.device += 1;
  EXPECT_EQ(why_foreign(owner, here()), "");
  for (const auto field : {&StoreIdentity::inode, &StoreIdentity::born_ns}) {
    StoreIdentity other = owner;
    other.*field += 1;
    EXPECT_NE(why_foreign(other, here()), "");
  }
}

TEST(StoreIdentityTest, RecordOfAnotherHostIsForeign) {
  StoreIdentity owner = here();
  owner.boot_id = kOtherBoot;
  owner.host = "fedcba9876543210";
  EXPECT_NE(why_foreign(owner, here()).find("another host"), std::string::npos);
}

TEST(StoreIdentityTest, AfterAnotherBootAnUnknownHostIsForeign) {
  StoreIdentity owner = here();
  owner.boot_id = kOtherBoot;
  StoreIdentity store = here();
  owner.host.clear();
  EXPECT_NE(why_foreign(owner, store), "");
  store.host.clear();
  EXPECT_NE(why_foreign(owner, store), "");
  EXPECT_NE(why_foreign(here(),
                        [&] {
                          store.boot_id = kOtherBoot;
                          return store;
                        }()),
            "");
}

TEST(StoreIdentityTest, UnknownBirthTimeIsNotCompared) {
  StoreIdentity owner = here();
  owner.born_ns = 0;
  EXPECT_EQ(why_foreign(owner, here()), "");
  EXPECT_EQ(why_foreign(here(), owner), "");
}

TEST(StoreIdentityTest, JsonSurvivesARoundTripAndOtherJsonIsRejected) {
  const auto json = to_json(here());
  const auto again = identity_from_json(json);
  ASSERT_TRUE(again);
  EXPECT_EQ(*again, here());
  for (const auto& [name, value] : json.items()) {
    auto without = json;
    without.erase(name);
    EXPECT_FALSE(identity_from_json(without)) << name;
    auto wrong = json;
    wrong[name] = nlohmann::json::array();
    EXPECT_FALSE(identity_from_json(wrong)) << name;
  }
  EXPECT_FALSE(identity_from_json(nlohmann::json("text")));
}

TEST(StoreIdentityTest, CopiedDirectoryIsForeignAndRenamedOneIsNot) {
  const tests::ScratchDirectory scratch;
  const fs::path& root = scratch.path();
  fs::create_directory(root / "store");
  const auto store = identity_of_store(root / "store");
  ASSERT_TRUE(store) << store.error().message;
  fs::copy(root / "store", root / "copy", fs::copy_options::recursive);
  fs::rename(root / "store", root / "moved");
  const auto copy = identity_of_store(root / "copy");
  const auto moved = identity_of_store(root / "moved");
  ASSERT_TRUE(copy);
  ASSERT_TRUE(moved);
  EXPECT_NE(why_foreign(*store, *copy), "");
  EXPECT_EQ(why_foreign(*store, *moved), "");
  EXPECT_EQ(stable_name(*store), stable_name(*moved));
  EXPECT_NE(stable_name(*store), stable_name(*copy));
}

}  // namespace
}  // namespace lamina::store
