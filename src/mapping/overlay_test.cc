// Property test of the mapping against a plain array of blocks.
#include "mapping/overlay.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "mapping/statistics.h"

namespace lamina::mapping {
namespace {

/// Where a block of the array is stored; nil for zeros.
struct Place {
  Uuid layer;
  std::uint32_t storage_block = 0;

  bool operator==(const Place&) const = default;
};

using Memory = std::vector<Place>;

Uuid make_id(std::mt19937_64& random) {
  Uuid id;
  for (auto& byte : id.bytes) byte = static_cast<std::uint8_t>(random());
  id.bytes[0] |= 1;  // never nil
  return id;
}

Place place_of(const Mapping& mapping, std::uint32_t block) {
  const Extent run = mapping.resolve(block);
  if (run.layer == kZeros) return {};
  return {mapping.layer_id(run.layer), run.storage_block};
}

/// Checks every block, and that the mapping is canonical: complete, joined, without unreferenced
/// layers. `youngest` and `merged` may be unreferenced: they are kept for their trailers.
void expect_equal(const Mapping& mapping, const Memory& memory, const Uuid& youngest,
                  const Uuid& merged = {}) {
  ASSERT_EQ(mapping.block_count(), memory.size());
  std::uint32_t next = 0;
  std::vector<bool> used(mapping.layers().size() + 1, false);
  for (std::size_t i = 0; i < mapping.extent_count(); ++i) {
    const Extent extent = mapping.extent(i);
    ASSERT_EQ(extent.guest_block, next);
    ASSERT_GT(extent.block_count, 0);
    next = extent.guest_end();
    used[extent.layer] = true;
    if (i > 0) {
      const Extent before = mapping.extent(i - 1);
      const bool joinable = before.layer == extent.layer &&
                            (extent.layer == kZeros ||
                             before.storage_block + before.block_count == extent.storage_block);
      ASSERT_FALSE(joinable) << "extents " << i - 1 << " and " << i;
    }
    for (std::uint32_t b = extent.guest_block; b < extent.guest_end(); ++b) {
      ASSERT_EQ(place_of(mapping, b), memory[b]) << "block " << b;
    }
  }
  ASSERT_EQ(next, mapping.block_count());
  for (std::size_t i = 1; i < used.size(); ++i) {
    const Uuid& id = mapping.layers()[i - 1];
    EXPECT_TRUE(used[i] || id == youngest || id == merged) << "unreferenced layer " << i;
  }
  EXPECT_NE(mapping.layer_index(youngest), kZeros);
}

/// A random diff with all three block states. Applies it to the array and returns its changes.
std::vector<Extent> random_diff(std::mt19937_64& random, Memory& memory, const Uuid& layer) {
  std::vector<Extent> changes;
  std::uint32_t stored = 0;
  const auto blocks = static_cast<std::uint32_t>(memory.size());
  const std::uint32_t longest = 1 + static_cast<std::uint32_t>(random() % 40);
  for (std::uint32_t block = 0; block < blocks;) {
    const auto count = std::min(1 + static_cast<std::uint32_t>(random() % longest), blocks - block);
    const auto state = random() % 4;
    if (state < 2) {
      const bool zero = state == 0;
      changes.push_back({block, count, zero ? kZeros : kNewLayer, zero ? 0 : stored});
      for (std::uint32_t i = 0; i < count; ++i) {
        memory[block + i] = zero ? Place{} : Place{layer, stored + i};
      }
      if (!zero) stored += count;
    }
    block += count;
  }
  return changes;
}

class MappingProperty : public testing::TestWithParam<int> {};

/// LAMINA_SEED replays one seed.
std::uint64_t seed_of(int parameter) {
  const char* fixed = std::getenv("LAMINA_SEED");
  return fixed != nullptr ? std::strtoull(fixed, nullptr, 10)
                          : static_cast<std::uint64_t>(parameter);
}

TEST_P(MappingProperty, ChainsOfUpToFiftyGenerationsResolveLikeAnArray) {
  const std::uint64_t seed = seed_of(GetParam());
  SCOPED_TRACE("LAMINA_SEED=" + std::to_string(seed));
  std::mt19937_64 random(seed);
  Memory memory(1 + random() % 1500);
  Mapping mapping = Mapping::zeros(static_cast<std::uint32_t>(memory.size()));
  const auto generations = 1 + random() % 50;
  for (std::uint64_t i = 0; i < generations; ++i) {
    const Uuid layer = make_id(random);
    const std::vector<Extent> changes = random_diff(random, memory, layer);
    auto next = overlay(mapping, layer, changes);
    ASSERT_TRUE(next) << next.error().message;
    mapping = std::move(*next);
    expect_equal(mapping, memory, layer);
    if (HasFatalFailure()) return;
  }
}

TEST_P(MappingProperty, MergesOfAnyLayersResolveToTheSameContents) {
  const std::uint64_t seed = seed_of(GetParam());
  SCOPED_TRACE("LAMINA_SEED=" + std::to_string(seed));
  std::mt19937_64 random(seed);
  Memory memory(1 + random() % 800);
  Mapping mapping = Mapping::zeros(static_cast<std::uint32_t>(memory.size()));
  for (int i = 0; i < 12; ++i) {
    const Uuid layer = make_id(random);
    auto next = overlay(mapping, layer, random_diff(random, memory, layer));
    ASSERT_TRUE(next);
    mapping = std::move(*next);
    if (random() % 2 == 0) continue;

    std::vector<bool> selected(mapping.layers().size() + 1, false);
    for (std::size_t k = 1; k < selected.size(); ++k) selected[k] = random() % 2 == 0;
    selected[1 + random() % (selected.size() - 1)] = true;
    const Uuid merged = make_id(random);
    const std::vector<Uuid> source_layers(mapping.layers().begin(), mapping.layers().end());
    auto plan = plan_merge(mapping, selected, merged);
    ASSERT_TRUE(plan);
    // Apply the moves to the array: the blocks are now in the merged layer.
    std::uint32_t stored = 0;
    for (const Extent& move : plan->moves) {
      for (std::uint32_t b = 0; b < move.block_count; ++b) {
        const Place source{mapping.layer_id(move.layer), move.storage_block + b};
        ASSERT_EQ(memory[move.guest_block + b], source);
        memory[move.guest_block + b] = {merged, stored++};
      }
    }
    EXPECT_EQ(stored, plan->moved_blocks);
    mapping = std::move(plan->mapping);
    ASSERT_NE(mapping.layer_index(merged), kZeros);
    ASSERT_EQ(mapping.layers().back(), selected.back() ? merged : source_layers.back());
    expect_equal(mapping, memory, mapping.layers().back(), merged);
    if (HasFatalFailure()) return;
    for (std::size_t k = 1; k < selected.size(); ++k) {
      if (!selected[k]) continue;
      // Nothing refers to the merged layers any more.
      ASSERT_EQ(mapping.layer_index(source_layers[k - 1]), kZeros);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, MappingProperty, testing::Range(1, 41));

TEST(Overlay, BuildIdAlreadyInTheChainIsRejected) {
  std::mt19937_64 random(1);
  const Uuid layer = make_id(random);
  const auto first = overlay(Mapping::zeros(4), layer, std::vector<Extent>{{0, 4, kNewLayer, 0}});
  ASSERT_TRUE(first);
  const auto second = overlay(*first, layer, std::vector<Extent>{{0, 1, kNewLayer, 0}});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().kind, ErrorKind::kUsage);
  EXPECT_FALSE(overlay(*first, Uuid{}, {}));
}

TEST(Overlay, EmptyDiffKeepsItsLayerInTheTable) {
  std::mt19937_64 random(2);
  const Uuid layer = make_id(random);
  const auto mapping = overlay(Mapping::zeros(4), layer, {});
  ASSERT_TRUE(mapping);
  EXPECT_EQ(mapping->layers().size(), 1);
  EXPECT_EQ(mapping->resolve(0), (Extent{0, 4, kZeros, 0}));
}

}  // namespace
}  // namespace lamina::mapping
