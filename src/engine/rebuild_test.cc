#include "engine/rebuild.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "base/block.h"

namespace lamina::engine {
namespace {

using format::Trailer;

constexpr std::uint32_t kBlocks = 512;

/// A layer that stores one block.
Trailer layer_with(std::uint32_t block) {
  Trailer trailer;
  trailer.build_id = Uuid::random();
  trailer.pause_id = Uuid::random();
  trailer.memory_bytes = kBlocks * kBlockBytes;
  trailer.extents = {{block, 1, 0, 0}};
  trailer.data_blocks = 1;
  return trailer;
}

std::vector<const Trailer*> pointers(const std::vector<Trailer>& trailers) {
  std::vector<const Trailer*> result;
  result.reserve(trailers.size());
  for (const Trailer& trailer : trailers) result.push_back(&trailer);
  return result;
}

std::vector<Uuid> random_ids(std::size_t count) {
  std::vector<Uuid> ids(count);
  for (Uuid& id : ids) id = Uuid::random();
  return ids;
}

// Each merged layer replaces thousands of layers, and all but one of them are in the chains of all
// others. Comparing each list with each chain would take minutes.
TEST(Rebuild, HandlesManyMergedLayersWithLongReplacesLists) {
  constexpr std::uint32_t kMerged = 300;
  const std::vector<Uuid> common = random_ids(3000);
  const std::vector<Uuid> own = random_ids(kMerged);
  std::vector<Trailer> trailers;
  for (std::uint32_t i = 0; i < kMerged; ++i) {
    Trailer merged = layer_with(i);
    merged.chain = common;
    merged.replaces = common;
    merged.replaces.push_back(own[i]);
    trailers.push_back(std::move(merged));
  }
  Trailer youngest = layer_with(kMerged);
  youngest.chain = common;
  youngest.chain.insert(youngest.chain.end(), own.begin(), own.end());
  youngest.zeros = {{kMerged + 1, kBlocks - kMerged - 1}};
  trailers.insert(trailers.begin() + 7, youngest);

  const auto rebuilt = rebuild_state(pointers(trailers));
  ASSERT_TRUE(rebuilt) << rebuilt.error().message;
  EXPECT_EQ(rebuilt->build_id, youngest.build_id);
  EXPECT_EQ(rebuilt->pause_id, youngest.pause_id);
  EXPECT_EQ(rebuilt->mapping.layers().size(), kMerged + 1);
  for (const Trailer& trailer : trailers) {
    const std::uint32_t block = trailer.extents.front().guest_block;
    const mapping::LayerIndex layer = rebuilt->mapping.resolve(block).layer;
    EXPECT_EQ(rebuilt->mapping.layer_id(layer), trailer.build_id) << block;
  }
}

TEST(Rebuild, MergedLayerReplacesOnlyIfAllItsSourcesAreInTheChain) {
  const std::vector<Uuid> ids = random_ids(3);
  Trailer merged = layer_with(0);
  merged.replaces = {ids[0], ids[1]};
  Trailer fork = layer_with(1);
  fork.chain = {ids[0], ids[2]};
  const std::vector<Trailer> trailers = {merged, fork};
  const auto rebuilt = rebuild_state(pointers(trailers));
  ASSERT_FALSE(rebuilt);
  EXPECT_EQ(rebuilt.error().kind, ErrorKind::kCorrupt) << rebuilt.error().message;
}

TEST(Rebuild, MissingLayerIsNamed) {
  const std::vector<Uuid> ids = random_ids(1);
  Trailer youngest = layer_with(1);
  youngest.chain = ids;
  const std::vector<Trailer> trailers = {youngest};
  const auto rebuilt = rebuild_state(pointers(trailers));
  ASSERT_FALSE(rebuilt);
  EXPECT_EQ(rebuilt.error().kind, ErrorKind::kNotFound);
  EXPECT_NE(rebuilt.error().message.find(ids[0].to_string()), std::string::npos);
}

}  // namespace
}  // namespace lamina::engine
