#include "store/ancestors.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>

#include "store/open_store.h"
#include "store/push_record.h"

namespace lamina::store {
namespace {

class Ancestors : public testing::Test {
 protected:
  void SetUp() override {
    directory_ =
        std::filesystem::temp_directory_path() / ("lamina-ancestors-" + Uuid::random().to_string());
    std::filesystem::create_directory(directory_);
    std::vector<std::string> notes;
    auto opened = open_store(directory_, notes);
    ASSERT_TRUE(opened) << opened.error().message;
    store_ = std::make_unique<Store>(std::move(*opened));
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  struct State {
    Uuid pause_id;
    std::optional<SnapshotFacts> facts;
  };

  /// Makes `state` the child of what it was.
  void pause(State& state) const {
    SnapshotFacts facts;
    facts.ancestors = ancestors_of_child(state.pause_id, state.facts, directory_);
    facts.parent_pause_id = state.pause_id;
    state.facts = facts;
    state.pause_id = Uuid::random();
  }

  static State first() { return {Uuid::random(), std::nullopt}; }

  std::filesystem::path directory_;
  std::unique_ptr<Store> store_;
};

TEST_F(Ancestors, AreNewestFirst) {
  State state = first();
  EXPECT_TRUE(ancestors_of(state.facts).empty());
  const Uuid oldest = state.pause_id;
  pause(state);
  const Uuid middle = state.pause_id;
  pause(state);
  EXPECT_EQ(ancestors_of(state.facts), (std::vector{middle, oldest}));
}

TEST_F(Ancestors, FactsOfEarlierVersionsNameTheParent) {
  State state = first();
  const Uuid parent = Uuid::random();
  state.facts.emplace();
  state.facts->parent_pause_id = parent;
  EXPECT_EQ(ancestors_of(state.facts), std::vector{parent});
  EXPECT_EQ(ancestors_of_child(state.pause_id, state.facts, directory_),
            (std::vector{state.pause_id, parent}));
}

TEST_F(Ancestors, ListIsLimited) {
  State state = first();
  for (std::size_t i = 0; i < kMaxAncestors + 5; ++i) pause(state);
  EXPECT_EQ(ancestors_of(state.facts).size(), kMaxAncestors);
  EXPECT_EQ(ancestors_of(state.facts).front(), *state.facts->parent_pause_id);
}

TEST_F(Ancestors, PushedOnesStayLonger) {
  State state = first();
  std::vector<Uuid> pushed;
  for (std::size_t i = 0; i < kMaxPushedAncestors + 2; ++i) {
    ASSERT_TRUE(write_push_record(*store_, state.pause_id, {"s3://b/", "web", i + 1}));
    pushed.insert(pushed.begin(), state.pause_id);
    pause(state);
    pause(state);
  }
  for (std::size_t i = 0; i < kMaxAncestors; ++i) pause(state);
  const std::vector<Uuid> ancestors = ancestors_of(state.facts);
  ASSERT_EQ(ancestors.size(), kMaxAncestors + kMaxPushedAncestors);
  const std::vector<Uuid> kept(ancestors.begin() + kMaxAncestors, ancestors.end());
  pushed.resize(kMaxPushedAncestors);
  EXPECT_EQ(kept, pushed);
}

TEST_F(Ancestors, OneWhosePushHasBegunStaysToo) {
  State state = first();
  const Uuid pushing = state.pause_id;
  ASSERT_TRUE(mark_push(*store_, pushing, "s3://b/", "web"));
  for (std::size_t i = 0; i < 2 * kMaxAncestors; ++i) pause(state);
  EXPECT_EQ(ancestors_of(state.facts).back(), pushing);
}

TEST_F(Ancestors, ListIsReadBack) {
  SnapshotFacts facts;
  facts.pause_id = Uuid::random();
  facts.build_id = Uuid::random();
  facts.created = timestamp_now();
  facts.parent_pause_id = Uuid::random();
  facts.ancestors = {*facts.parent_pause_id, Uuid::random()};
  const std::string text = encode_facts(facts);
  const auto read = decode_facts(std::as_bytes(std::span(text)));
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(*read, facts);
}

}  // namespace
}  // namespace lamina::store
