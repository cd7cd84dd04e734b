#include "store/resume_count.h"
#include "store/areas.h"
#include "store/open_store.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>

namespace lamina::store {
namespace {

class ResumeCount : public testing::Test {
 protected:
  void SetUp() override {
    directory_ =
        std::filesystem::temp_directory_path() / ("lamina-counts-" + Uuid::random().to_string());
    std::filesystem::create_directory(directory_);
    auto opened = open_store(directory_, notes_);
    ASSERT_TRUE(opened) << opened.error().message;
    store_ = std::make_unique<Store>(std::move(*opened));
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::filesystem::path directory_;
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

TEST_F(ResumeCount, OnlyThoseThatAreNotKeptAreForgotten) {
  EXPECT_TRUE(forget_counts_without(*store_, {}));  // there is no area yet
  const Uuid kept = Uuid::random();
  const Uuid gone = Uuid::random();
  ASSERT_TRUE(count_resume(*store_, kept));
  ASSERT_TRUE(count_resume(*store_, gone));
  ASSERT_TRUE(forget_counts_without(*store_, {kept}));
  EXPECT_EQ(resume_count(store_->fd(), store_->identity(), kept), 1U);
  EXPECT_EQ(resume_count(store_->fd(), store_->identity(), gone), 0U);
}

TEST_F(ResumeCount, WhatCannotBeCountedIsAnErrorAndChangesNothing) {
  const std::filesystem::path area = directory_ / kCountsArea;
  std::filesystem::create_directory(area);
  const Uuid pause = Uuid::random();
  std::filesystem::create_directory(area /
                                    (pause.to_string() + "@" + lasting_name(store_->identity())));
  EXPECT_FALSE(count_resume(*store_, pause));
  EXPECT_EQ(resume_count(store_->fd(), store_->identity(), pause), 0U);
}

}  // namespace
}  // namespace lamina::store
