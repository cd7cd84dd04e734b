#include "store/name.h"

#include <gtest/gtest.h>

#include <string>

namespace lamina::store {
namespace {

TEST(NameBeside, IsAValidNameForEachValidName) {
  const Uuid id = Uuid::random();
  for (const std::size_t length : {1U, 160U, 161U, 164U, 200U}) {
    const std::string name(length, 'n');
    ASSERT_TRUE(snapshot_in("store", name));
    const std::string beside = name_beside(name, id);
    EXPECT_TRUE(snapshot_in("store", beside)) << beside;
    EXPECT_TRUE(beside.ends_with("@" + id.to_string()));
    EXPECT_NE(beside, name);
  }
}

}  // namespace
}  // namespace lamina::store
