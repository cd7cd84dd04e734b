// What an object store in a directory does with the directory.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "object_store/blocking_store.h"
#include "object_store/directory_objects.h"
#include "object_store/directory_store.h"
#include "object_store/upload_writer.h"
#include "scratch_directory.h"

namespace lamina::object_store {
namespace {

namespace fs = std::filesystem;

class DirectoryStoreTest : public testing::Test {
 protected:
  DirectoryStoreTest() { store_ = *open_directory_store({.path = scratch_.path().string()}); }

  Answer put(const std::string& key, const std::string& text,
             Condition condition = Condition::kNone) {
    return BlockingStore(*store_).put(key, std::as_bytes(std::span(text)), condition);
  }

  [[nodiscard]] std::size_t files_in_incoming() const {
    const fs::path incoming = scratch_.path() / ".incoming";
    if (!fs::exists(incoming)) return 0;
    return static_cast<std::size_t>(
        std::distance(fs::directory_iterator(incoming), fs::directory_iterator()));
  }

  tests::ScratchDirectory scratch_;
  std::unique_ptr<ObjectStore> store_;
};

TEST_F(DirectoryStoreTest, AnObjectIsAFile) {
  ASSERT_TRUE(put("a/b", "hello").ok());
  std::ifstream file(scratch_.path() / "a/b");
  std::string text;
  file >> text;
  EXPECT_EQ(text, "hello");
  EXPECT_EQ(files_in_incoming(), 0U);
}

TEST_F(DirectoryStoreTest, EmptyDirectoriesAreRemoved) {
  ASSERT_TRUE(put("a/b/c", "x").ok());
  ASSERT_TRUE(put("a/d", "x").ok());
  EXPECT_TRUE(BlockingStore(*store_).remove("a/b/c").ok());
  EXPECT_FALSE(fs::exists(scratch_.path() / "a/b"));
  EXPECT_TRUE(fs::exists(scratch_.path() / "a/d"));
}

TEST_F(DirectoryStoreTest, AKeyCannotBeAnothersDirectory) {
  ASSERT_TRUE(put("a", "x").ok());
  ASSERT_TRUE(put("b/c", "x").ok());
  for (const Condition condition : {Condition::kNone, Condition::kIfAbsent}) {
    EXPECT_EQ(put("a/b", "y", condition).outcome, Outcome::kRefused);
    EXPECT_EQ(put("b", "y", condition).outcome, Outcome::kRefused);
  }
  EXPECT_TRUE(BlockingStore(*store_).remove("b").ok());
  EXPECT_TRUE(BlockingStore(*store_).get("b/c").ok());
  EXPECT_EQ(BlockingStore(*store_).get("a/b").outcome, Outcome::kAbsent);
  EXPECT_EQ(files_in_incoming(), 0U);
}

TEST_F(DirectoryStoreTest, SymbolicLinksAreNotFollowed) {
  tests::ScratchDirectory outside;
  std::ofstream(outside.path() / "secret") << "secret";
  fs::create_directory_symlink(outside.path(), scratch_.path() / "link");
  fs::create_symlink(outside.path() / "secret", scratch_.path() / "file");
  BlockingStore blocking(*store_);
  EXPECT_FALSE(blocking.get("link/secret").ok());
  EXPECT_FALSE(blocking.get("file").ok());
  EXPECT_FALSE(put("link/x", "x").ok());
  static_cast<void>(blocking.remove("link/secret"));
  EXPECT_TRUE(fs::exists(outside.path() / "secret"));
  EXPECT_TRUE(blocking.list_all("")->empty());
  // A put replaces the link itself.
  ASSERT_TRUE(put("file", "x").ok());
  EXPECT_EQ(fs::file_size(outside.path() / "secret"), 6U);
}

TEST_F(DirectoryStoreTest, DevicesAreNotRead) {
  ASSERT_EQ(::mkfifo((scratch_.path() / "fifo").c_str(), 0600), 0);
  EXPECT_FALSE(BlockingStore(*store_).get("fifo").ok());
  EXPECT_TRUE(BlockingStore(*store_).list_all("")->empty());
}

TEST_F(DirectoryStoreTest, TheDirectoryOfWritersIsNotAnObject) {
  EXPECT_EQ(put(".incoming/x", "x").outcome, Outcome::kRefused);
  EXPECT_EQ(BlockingStore(*store_).get(".incoming/x").outcome, Outcome::kRefused);
  Request begin;
  begin.operation = Operation::kBeginUpload;
  begin.key = "up";
  ASSERT_TRUE(BlockingStore(*store_).run(begin).ok());
  EXPECT_EQ(files_in_incoming(), 1U);
  EXPECT_TRUE(BlockingStore(*store_).list_all("")->empty());
  EXPECT_TRUE(BlockingStore(*store_).list_all(".")->empty());
  store_.reset();
  EXPECT_EQ(files_in_incoming(), 0U);
}

TEST_F(DirectoryStoreTest, WhatCrashedWritersLeftIsRemovedADayLater) {
  const fs::path incoming = scratch_.path() / ".incoming";
  fs::create_directory(incoming);
  std::ofstream(incoming / "old") << "x";
  std::ofstream(incoming / "new") << "x";
  fs::last_write_time(incoming / "old", fs::file_time_type::clock::now() - std::chrono::hours(25));
  ASSERT_TRUE(open_directory_store({.path = scratch_.path().string()}));
  EXPECT_FALSE(fs::exists(incoming / "old"));
  EXPECT_TRUE(fs::exists(incoming / "new"));
}

TEST_F(DirectoryStoreTest, WritersAndRemoversOfOneDirectoryDoNotFail) {
  // The remover's rmdir(2) takes the directory away between the writer's mkdir(2) and link(2).
  auto other = *open_directory_store({.path = scratch_.path().string(), .max_parallel = 1});
  std::atomic<bool> ends = false;
  std::thread remover([&] {
    BlockingStore blocking(*other);
    while (!ends) EXPECT_TRUE(blocking.remove("x/y/other").ok());
  });
  for (int i = 0; i < 300; ++i) {
    const Condition condition = i % 2 == 0 ? Condition::kIfAbsent : Condition::kNone;
    const Answer answer = put("x/y/z", "x", condition);
    EXPECT_TRUE(answer.ok()) << answer.error.message;
    EXPECT_TRUE(BlockingStore(*store_).remove("x/y/z").ok());
  }
  ends = true;
  remover.join();
}

TEST_F(DirectoryStoreTest, ALateRequestEndsWithoutItsThread) {
  Request request;
  request.key = "a";
  request.limits.deadline = std::chrono::milliseconds(0);
  const Answer answer = BlockingStore(*store_).run(request);
  // The thread may be quicker.
  EXPECT_TRUE(answer.outcome == Outcome::kUnavailable || answer.outcome == Outcome::kAbsent);
}

TEST_F(DirectoryStoreTest, PartsOfOtherSizesAreRefused) {
  Request request;
  request.operation = Operation::kBeginUpload;
  request.key = "up";
  BlockingStore blocking(*store_);
  request.upload_id = blocking.run(request).upload_id;
  request.operation = Operation::kUploadPart;
  const std::string text = "short";
  request.body = std::as_bytes(std::span(text));
  for (unsigned number = 1; number <= 2; ++number) {
    request.part_number = number;
    const Answer part = blocking.run(request);
    ASSERT_TRUE(part.ok());
    request.parts.push_back({.number = number, .tag = part.tag});
  }
  request.operation = Operation::kCompleteUpload;
  EXPECT_EQ(blocking.run(request).outcome, Outcome::kRefused);
  EXPECT_EQ(blocking.get("up").outcome, Outcome::kAbsent);
}

TEST(DirectoryStore, ADirectoryThatIsMissingIsNotFound) {
  const auto store = open_directory_store({.path = "/nonexistent"});
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().kind, ErrorKind::kNotFound);
}

}  // namespace
}  // namespace lamina::object_store
