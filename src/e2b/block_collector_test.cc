#include "e2b/block_collector.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <utility>

#include "base/block.h"
#include "engine/layer.h"
#include "os/directory.h"
#include "scratch_directory.h"

namespace lamina::e2b {
namespace {

constexpr std::uint32_t kGuestBlocks = 90;
constexpr std::uint32_t kObjectBlocks = 50;

/// LAMINA_SEED repeats one seed.
unsigned collector_seed() {
  const char* fixed = std::getenv("LAMINA_SEED");
  return fixed != nullptr ? static_cast<unsigned>(std::stoul(fixed)) : std::random_device()();
}

/// A layer of a memory, filled from an object that comes in pieces.
class E2bCollectorTest : public testing::Test {
 protected:
  E2bCollectorTest() : seed_(collector_seed()), random_(seed_) {
    auto opened = os::open_directory(AT_FDCWD, scratch_.file("."), "scratch");
    EXPECT_TRUE(opened);
    directory_ = std::move(*opened);
  }

  std::uint32_t below(std::uint32_t limit) { return static_cast<std::uint32_t>(random_() % limit); }

  /// An object in which some blocks are zeros.
  std::vector<std::byte> random_object(std::uint64_t bytes) {
    std::vector<std::byte> object(bytes);
    for (std::size_t i = 0; i < bytes; ++i) {
      const bool is_zero_block = i / kBlockBytes % 4 == 3;
      if (!is_zero_block) object[i] = std::byte(random_() & 0xffU);
    }
    return object;
  }

  /// Runs of the guest with random places in the object, which overlap there. `memory` gets what
  /// the guest has.
  std::vector<Piece> random_pieces(std::span<const std::byte> object,
                                   std::vector<std::byte>& memory, std::vector<BlockRun>& runs) {
    std::vector<Piece> pieces;
    std::uint32_t number = 0;
    std::uint32_t block = below(4);
    while (block < kGuestBlocks) {
      const std::uint32_t most = std::min(kGuestBlocks - block, kObjectBlocks);
      const std::uint32_t count = 1 + below(std::min(most, 12U));
      const std::uint32_t storage = below(kObjectBlocks - count + 1);
      pieces.push_back({storage, count, block, number});
      runs.push_back({block, count});
      std::memcpy(&memory[block * kBlockBytes], &object[storage * kBlockBytes],
                  count * kBlockBytes);
      number += count;
      block += count + below(3);
    }
    std::sort(pieces.begin(), pieces.end(),
              [](const Piece& a, const Piece& b) { return a.storage_block < b.storage_block; });
    return pieces;
  }

  Result<LayerFile> new_layer(std::uint64_t memory_bytes, std::vector<BlockRun> runs) {
    name_ = "layer-" + std::to_string(layers_++);
    return LayerFile::create(directory_.get(), name_, scratch_.file(name_), memory_bytes,
                             std::move(runs));
  }

  /// Gives the object to the collector in frames of random lengths. Frames that it does not need
  /// are left out if `skip` is set.
  Status give(BlockCollector& collector, std::span<const std::byte> object, bool skip) {
    expect_ok(collector.check());
    for (std::size_t offset = 0; offset < object.size();) {
      const std::size_t length =
          std::min<std::size_t>(object.size() - offset, 1 + below(below(2) == 0 ? 900 : 40'000));
      const bool is_needed = collector.is_needed(offset, offset + length);
      if (is_needed || !skip) {
        Status taken = collector.take(offset, object.subspan(offset, length));
        if (!taken) return taken;
      }
      offset += length;
    }
    return collector.finish();
  }

  static void expect_ok(const Status& status) { EXPECT_TRUE(status) << status.error().message; }

  /// Finishes the layer and compares it with what the guest has, by its trailer.
  void expect_layer(LayerFile& layer, const std::vector<std::byte>& memory) {
    format::Trailer trailer;
    trailer.build_id = Uuid::random();
    trailer.pause_id = Uuid::random();
    trailer.extents = layer.stored_extents();
    const Uuid id = trailer.build_id;
    expect_ok(layer.finish(std::move(trailer)));
    const auto opened =
        engine::Layer::open(directory_.get(), name_, scratch_.file(name_), id, true);
    ASSERT_TRUE(opened) << opened.error().message;
    std::vector<std::byte> got(blocks_for(memory.size()) * kBlockBytes);
    for (const mapping::StoredExtent& extent : opened->trailer()->extents) {
      const auto buffer = std::span(got).subspan(extent.guest_block * kBlockBytes,
                                                 extent.block_count * kBlockBytes);
      expect_ok(opened->read_checked(
          {extent.guest_block, extent.block_count, 1, extent.storage_block}, buffer));
      for (std::uint32_t i = 0; i < extent.block_count; ++i) {
        const auto block = buffer.subspan(i * kBlockBytes, kBlockBytes);
        EXPECT_TRUE(std::any_of(block.begin(), block.end(),
                                [](std::byte byte) { return byte != std::byte{0}; }));
      }
    }
    // Storage is padded with zeros, whatever the object has behind the end of the memory.
    EXPECT_TRUE(std::all_of(got.begin() + static_cast<std::ptrdiff_t>(memory.size()), got.end(),
                            [](std::byte byte) { return byte == std::byte{0}; }));
    got.resize(memory.size());
    EXPECT_EQ(got, memory);
  }

  tests::ScratchDirectory scratch_;
  unsigned seed_;
  std::mt19937 random_;
  os::Fd directory_;
  std::string name_;
  int layers_ = 0;
};

TEST_F(E2bCollectorTest, RandomPiecesGiveTheMemory) {
  SCOPED_TRACE("LAMINA_SEED=" + std::to_string(seed_));
  for (int round = 0; round < 60; ++round) {
    const std::uint64_t cut = below(2) * below(kBlockBytes);
    const auto object = random_object(kObjectBlocks * kBlockBytes);
    std::vector<std::byte> memory(kGuestBlocks * kBlockBytes);
    std::vector<BlockRun> runs;
    const std::vector<Piece> pieces = random_pieces(object, memory, runs);
    memory.resize(memory.size() - cut);
    auto layer = new_layer(memory.size(), runs);
    ASSERT_TRUE(layer);
    BlockCollector collector(pieces, *layer, memory.size(), object.size(), nullptr);
    expect_ok(give(collector, object, round % 2 == 0));
    expect_layer(*layer, memory);
  }
}

TEST_F(E2bCollectorTest, OnlyTheLastBlockOfTheMemoryNeedNotBeWhole) {
  const auto object = random_object(3 * kBlockBytes - 100);
  const std::vector<BlockRun> runs = {{0, 3}};
  const std::vector<Piece> pieces = {{0, 3, 0, 0}};
  // The memory ends where the object does.
  auto layer = new_layer(object.size(), runs);
  ASSERT_TRUE(layer);
  BlockCollector collector(pieces, *layer, object.size(), object.size(), nullptr);
  expect_ok(give(collector, object, true));
  expect_layer(*layer, object);
  // It ends later.
  for (const std::uint64_t memory_bytes :
       {3 * kBlockBytes - 99, 3 * kBlockBytes, 9 * kBlockBytes}) {
    auto other = new_layer(memory_bytes, runs);
    ASSERT_TRUE(other);
    const BlockCollector refused(pieces, *other, memory_bytes, object.size(), nullptr);
    const Status checked = refused.check();
    ASSERT_FALSE(checked);
    EXPECT_EQ(checked.error().kind, ErrorKind::kCorrupt);
  }
}

TEST_F(E2bCollectorTest, AGapBetweenFramesIsRefused) {
  const auto object = random_object(10 * kBlockBytes);
  const std::vector<Piece> pieces = {{0, 2, 0, 0}, {2, 6, 2, 2}, {9, 1, 8, 8}};
  // Each is the only block that does not come, or comes in part.
  for (std::uint32_t missing = 0; missing < 10; ++missing) {
    for (const std::uint64_t bytes : {std::uint64_t{1}, kBlockBytes}) {
      auto layer = new_layer(9 * kBlockBytes, {{0, 9}});
      ASSERT_TRUE(layer);
      BlockCollector collector(pieces, *layer, 9 * kBlockBytes, object.size(), nullptr);
      const std::size_t begin = missing * kBlockBytes;
      const std::span<const std::byte> all(object);
      Status taken = begin == 0 ? Status{} : collector.take(0, all.first(begin));
      if (taken) taken = collector.take(begin + bytes, all.subspan(begin + bytes));
      if (taken) taken = collector.finish();
      EXPECT_EQ(taken.has_value(), missing == 8) << missing;  // no piece has this block
    }
  }
}

TEST_F(E2bCollectorTest, OnlyWhatAPieceHasIsNeeded) {
  auto layer = new_layer(9 * kBlockBytes, {{0, 3}});
  ASSERT_TRUE(layer);
  const std::vector<Piece> pieces = {{2, 1, 0, 0}, {2, 2, 1, 1}};
  BlockCollector collector(pieces, *layer, 9 * kBlockBytes, 10 * kBlockBytes, nullptr);
  EXPECT_FALSE(collector.is_needed(0, 2 * kBlockBytes));
  EXPECT_TRUE(collector.is_needed(2 * kBlockBytes - 1, 2 * kBlockBytes + 1));
  EXPECT_TRUE(collector.is_needed(3 * kBlockBytes, 4 * kBlockBytes));
  EXPECT_FALSE(collector.is_needed(4 * kBlockBytes, 9 * kBlockBytes));
}

}  // namespace
}  // namespace lamina::e2b
