#include "store/once_mark.h"

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <memory>
#include <set>
#include <thread>
#include <vector>

#include "scratch_directory.h"
#include "store/open_store.h"
#include "store/resume_count.h"

namespace lamina::store {
namespace {

class OnceMarkTest : public testing::Test {
 protected:
  void SetUp() override {
    auto opened = open_store(directory_, notes_);
    ASSERT_TRUE(opened) << opened.error().message;
    store_ = std::make_unique<Store>(std::move(*opened));
  }

  [[nodiscard]] bool is_consumed() const {
    const auto consumed = consumed_once(store_->fd(), pause_);
    EXPECT_TRUE(consumed);
    return consumed->has_value();
  }

  tests::ScratchDirectory scratch_;
  std::filesystem::path directory_ = scratch_.path();
  std::vector<std::string> notes_;
  std::unique_ptr<Store> store_;
  Uuid pause_ = Uuid::random();
};

TEST_F(OnceMarkTest, ASecondResumeIsToldOfTheFirst) {
  EXPECT_FALSE(is_consumed());
  ASSERT_TRUE(consume_once(*store_, pause_, "17-4711"));
  EXPECT_TRUE(is_consumed());
  const Status second = consume_once(*store_, pause_, "18-4712");
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().kind, ErrorKind::kExists);
  EXPECT_NE(second.error().message.find("by process 17-4711"), std::string::npos)
      << second.error().message;
  ASSERT_TRUE(consume_once(*store_, Uuid::random(), "18-4712")) << "another pause";
  ASSERT_TRUE(give_back_once(*store_, pause_));
  EXPECT_FALSE(is_consumed());
  EXPECT_TRUE(consume_once(*store_, pause_, "18-4712"));
}

TEST_F(OnceMarkTest, AnEmptyMarkCounts) {
  ASSERT_TRUE(consume_once(*store_, pause_, "17-4711"));
  std::filesystem::resize_file(directory_ / ".counts" / (pause_.to_string() + "@once"), 0);
  EXPECT_TRUE(is_consumed());
  EXPECT_FALSE(consume_once(*store_, pause_, "18-4712"));
}

TEST_F(OnceMarkTest, OneOfManyAtTheSameTimeSucceeds) {
  std::atomic<int> successes = 0;
  std::vector<std::thread> threads;
  threads.reserve(8);
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] { successes += consume_once(*store_, pause_, "1-1") ? 1 : 0; });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(successes, 1);
}

TEST_F(OnceMarkTest, ItIsRemovedWithTheLastSnapshotOfThePause) {
  ASSERT_TRUE(consume_once(*store_, pause_, "17-4711"));
  ASSERT_TRUE(remove_counts(*store_, counts_except(*list_counts(*store_), {pause_})));
  EXPECT_TRUE(is_consumed());
  ASSERT_TRUE(remove_counts(*store_, counts_except(*list_counts(*store_), {})));
  EXPECT_FALSE(is_consumed());
}

}  // namespace
}  // namespace lamina::store
