#include "server/listener.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <string>

namespace lamina::server {
namespace {

namespace fs = std::filesystem;

class ListenerTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = fs::temp_directory_path().string() + "/lamina-listener-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    root_ = name;
    fs::create_directory(root_ / "run");
  }
  void TearDown() override { fs::remove_all(root_); }

  static Listener bound(const fs::path& path) {
    auto listener =
        Listener::bind(path.string(), {.group = {}, .replace = os::ReplaceSocket::kAlways});
    EXPECT_TRUE(listener) << listener.error().message;
    return listener ? std::move(*listener) : Listener();
  }

  [[nodiscard]] fs::path path() const { return root_ / "run" / "socket"; }

  fs::path root_;
};

TEST_F(ListenerTest, RemovesItsSocket) {
  const Listener listener = bound(path());
  EXPECT_TRUE(fs::exists(path()));
  listener.remove();
  EXPECT_FALSE(fs::exists(path()));
}

TEST_F(ListenerTest, LeavesTheSocketThatHasTakenItsName) {
  const Listener before = bound(path());
  const Listener after = bound(path());
  before.remove();
  EXPECT_TRUE(fs::exists(path()));
  after.remove();
  EXPECT_FALSE(fs::exists(path()));
}

TEST_F(ListenerTest, FindsItsSocketWhereTheDirectoryHasBeenMoved) {
  const Listener listener = bound(path());
  fs::rename(root_ / "run", root_ / "moved");
  fs::create_directory(root_ / "run");
  const Listener other = bound(path());
  listener.remove();
  EXPECT_FALSE(fs::exists(root_ / "moved" / "socket"));
  EXPECT_TRUE(fs::exists(path()));
  other.remove();
}

}  // namespace
}  // namespace lamina::server
