#include "remote/cache_policy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <random>
#include <set>
#include <string>

namespace lamina::remote {
namespace {

CachedFile layer(std::uint64_t inode, std::uint64_t links, std::uint64_t bytes) {
  return {
      {.device = 1, .inode = inode, .link_count = links, .links_here = 1, .allocated_bytes = bytes},
      true};
}

CachedFile facts(std::uint64_t inode) {
  CachedFile file = layer(inode, 1, 1);
  file.is_layer = false;
  return file;
}

CachedSnapshot snapshot(const std::string& name, std::int64_t last_use,
                        std::vector<CachedFile> files) {
  CachedSnapshot made;
  made.name = name;
  made.pause_id = Uuid::random();
  made.last_use_ns = last_use;
  made.files = std::move(files);
  return made;
}

TEST(CachePolicy, LeastRecentlyUsedGoesFirstAndEqualTimesByName) {
  CacheContents contents({snapshot("c", 5, {layer(1, 1, 10)}), snapshot("b", 3, {layer(2, 1, 10)}),
                          snapshot("a", 3, {layer(3, 1, 10)})});
  std::string order;
  while (const auto next = contents.next()) {
    order += contents.at(*next).name;
    contents.remove(*next);
  }
  EXPECT_EQ(order, "abc");
  EXPECT_EQ(contents.bytes(), 0U);
}

TEST(CachePolicy, SharedLayerCountsOnceUntilItsLastSnapshotGoes) {
  CacheContents contents(
      {snapshot("a", 1, {layer(1, 2, 100), facts(7)}), snapshot("b", 2, {layer(1, 2, 100)})});
  EXPECT_EQ(contents.bytes(), 101U);
  contents.remove(0);
  EXPECT_EQ(contents.bytes(), 100U);
  EXPECT_EQ(contents.next(), 1U);
}

TEST(CachePolicy, LayersThatOthersHoldKeepASnapshot) {
  // The layer of "template" has a third name: a pause that was made from it.
  CacheContents contents({snapshot("template", 1, {layer(1, 3, 100), facts(7)}),
                          snapshot("clone", 2, {layer(1, 3, 100), layer(2, 1, 5)})});
  EXPECT_EQ(contents.next(), 1U);
  contents.remove(1);
  EXPECT_FALSE(contents.next());
  EXPECT_EQ(contents.reasons().size(), 1U);
  EXPECT_EQ(contents.bytes(), 101U);
}

TEST(CachePolicy, WhatMustStayHoldsTheLayersOfOthers) {
  CacheContents contents(
      {snapshot("a", 1, {layer(1, 2, 100)}), snapshot("b", 2, {layer(1, 2, 100), layer(2, 1, 5)})});
  EXPECT_EQ(contents.next(), 0U);
  contents.keep(1, "a VM runs from it");
  EXPECT_FALSE(contents.next());
}

/// Every choice of small random caches, compared with a search through all subsets.
class RandomCache {
 public:
  explicit RandomCache(std::uint64_t seed) : random_(seed) {
    const std::size_t count = 1 + random_() % kMost;
    std::map<std::uint64_t, std::uint64_t> links;
    for (std::size_t i = 0; i < count; ++i) {
      std::set<std::uint64_t> inodes;
      for (std::size_t n = random_() % 4; n > 0; --n) inodes.insert(1 + random_() % 6);
      std::vector<CachedFile> files{facts(100 + i)};
      for (const std::uint64_t inode : inodes) {
        files.push_back(layer(inode, 0, inode * 10));
        ++links[inode];
      }
      snapshots_.push_back(snapshot(std::string(1, static_cast<char>('a' + i)),
                                    static_cast<std::int64_t>(random_() % 4), std::move(files)));
      if (random_() % 4 == 0) snapshots_.back().kept = "it is used";
    }
    for (auto& [inode, count_here] : links) count_here += random_() % 3 == 0 ? 1 : 0;
    for (CachedSnapshot& one : snapshots_) {
      for (CachedFile& file : one.files) {
        if (file.is_layer) file.use.link_count = links[file.use.inode];
      }
    }
    is_gone_.resize(count);
  }

  void run() {
    CacheContents contents(snapshots_);
    while (true) {
      EXPECT_EQ(contents.bytes(), bytes());
      const auto expected = next();
      ASSERT_EQ(contents.next(), expected);
      if (!expected) return;
      if (random_() % 5 == 0) {
        // The bucket does not have it.
        contents.keep(*expected, "it stays");
        snapshots_[*expected].kept = "it stays";
      } else {
        contents.remove(*expected);
        is_gone_[*expected] = true;
      }
    }
  }

 private:
  static constexpr std::size_t kMost = 7;

  [[nodiscard]] std::uint64_t bytes() const {
    std::map<std::uint64_t, std::uint64_t> files;
    for (std::size_t i = 0; i < snapshots_.size(); ++i) {
      if (is_gone_[i]) continue;
      for (const CachedFile& file : snapshots_[i].files) {
        files[file.use.inode] = file.use.allocated_bytes;
      }
    }
    std::uint64_t sum = 0;
    for (const auto& [inode, size] : files) sum += size;
    return sum;
  }

  /// True if the removal of all in `subset` frees a layer of each.
  [[nodiscard]] bool frees_something_of_each(unsigned subset) const {
    const auto is_in = [&](std::size_t i) { return (subset >> i & 1U) != 0; };
    const auto names_in_subset = [&](const CachedFile& wanted) {
      std::uint64_t names = 0;
      for (std::size_t i = 0; i < snapshots_.size(); ++i) {
        if (!is_in(i) && !is_gone_[i]) continue;
        for (const CachedFile& file : snapshots_[i].files) {
          if (file.use.inode == wanted.use.inode) ++names;
        }
      }
      return names;
    };
    for (std::size_t i = 0; i < snapshots_.size(); ++i) {
      if (!is_in(i)) continue;
      if (is_gone_[i] || !snapshots_[i].kept.empty()) return false;
      if (std::ranges::none_of(snapshots_[i].files, [&](const CachedFile& file) {
            return file.is_layer && names_in_subset(file) == file.use.link_count;
          })) {
        return false;
      }
    }
    return true;
  }

  [[nodiscard]] std::optional<std::size_t> next() const {
    unsigned may_go = 0;
    for (unsigned subset = 1; subset < 1U << snapshots_.size(); ++subset) {
      if (frees_something_of_each(subset)) may_go |= subset;
    }
    std::optional<std::size_t> best;
    for (std::size_t i = 0; i < snapshots_.size(); ++i) {
      if ((may_go >> i & 1U) == 0) continue;
      if (!best || snapshots_[i].last_use_ns < snapshots_[*best].last_use_ns) best = i;
    }
    return best;  // names are in the order of the indices
  }

  std::mt19937_64 random_;
  std::vector<CachedSnapshot> snapshots_;
  std::vector<bool> is_gone_;
};

TEST(CachePolicy, ChoicesAreThoseOfASearchThroughAllSubsets) {
  const char* const given = std::getenv("SEED");
  const std::uint64_t seed = given != nullptr ? std::stoull(given) : std::random_device{}();
  SCOPED_TRACE("SEED=" + std::to_string(seed));
  std::mt19937_64 seeds(seed);
  for (int round = 0; round < 500 && !testing::Test::HasFailure(); ++round) {
    RandomCache(seeds()).run();
  }
}

}  // namespace
}  // namespace lamina::remote
