#include "store/resume_count.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>

#include "scratch_directory.h"
#include "store/areas.h"
#include "store/open_store.h"

namespace lamina::store {
namespace {

class ResumeCount : public testing::Test {
 protected:
  void SetUp() override {
    auto opened = open_store(directory_, notes_);
    ASSERT_TRUE(opened) << opened.error().message;
    store_ = std::make_unique<Store>(std::move(*opened));
  }

  tests::ScratchDirectory scratch_;
  std::filesystem::path directory_ = scratch_.path();
  std::vector<std::string> notes_;
  std::unique_ptr<Store> store_;
};

TEST_F(ResumeCount, GrowsByOneWithEachResume) {
  const Uuid pause = Uuid::random();
  EXPECT_EQ(resume_count(store_->fd(), store_->identity(), pause), 0U);
  for (std::uint64_t i = 1; i <= 3; ++i) {
    ASSERT_TRUE(count_resume(*store_, pause));
    EXPECT_EQ(resume_count(store_->fd(), store_->identity(), pause), i);
  }
  EXPECT_EQ(resume_count(store_->fd(), store_->identity(), Uuid::random()), 0U);
}

TEST_F(ResumeCount, OnlyCountsOfOtherPausesAreRemoved) {
  EXPECT_TRUE(
      remove_counts(*store_, counts_except(*list_counts(*store_), {})));  // there is no area yet
  const Uuid kept = Uuid::random();
  const Uuid gone = Uuid::random();
  ASSERT_TRUE(count_resume(*store_, kept));
  ASSERT_TRUE(count_resume(*store_, gone));
  ASSERT_TRUE(remove_counts(*store_, counts_except(*list_counts(*store_), {kept})));
  EXPECT_EQ(resume_count(store_->fd(), store_->identity(), kept), 1U);
  EXPECT_EQ(resume_count(store_->fd(), store_->identity(), gone), 0U);
}

TEST_F(ResumeCount, WhatIsCountedAfterTheListStays) {
  const Uuid before = Uuid::random();
  const Uuid after = Uuid::random();
  ASSERT_TRUE(count_resume(*store_, before));
  const auto names = list_counts(*store_);
  ASSERT_TRUE(names) << names.error().message;
  ASSERT_TRUE(count_resume(*store_, after));
  ASSERT_TRUE(remove_counts(*store_, counts_except(*names, {})));
  EXPECT_EQ(resume_count(store_->fd(), store_->identity(), before), 0U);
  EXPECT_EQ(resume_count(store_->fd(), store_->identity(), after), 1U);
}

TEST_F(ResumeCount, FailedCountIsAnErrorAndChangesNothing) {
  const std::filesystem::path area = directory_ / kCountsArea;
  std::filesystem::create_directory(area);
  const Uuid pause = Uuid::random();
  std::filesystem::create_directory(area /
                                    (pause.to_string() + "@" + stable_name(store_->identity())));
  EXPECT_FALSE(count_resume(*store_, pause));
  EXPECT_EQ(resume_count(store_->fd(), store_->identity(), pause), 0U);
}

}  // namespace
}  // namespace lamina::store
