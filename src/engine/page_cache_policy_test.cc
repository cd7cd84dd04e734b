// A merge of a layer that is not in the page cache and is larger than the policy keeps cached, so
// that parts of source and destination are dropped while the rest is still being copied.
#include "engine/page_cache_policy.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <numeric>
#include <string>

#include "base/block.h"
#include "engine/block_scan.h"
#include "engine/layer_writer.h"
#include "engine/merge_data.h"
#include "mapping/overlay.h"
#include "os/directory.h"
#include "os/page_cache.h"
#include "scratch_directory.h"

namespace lamina::engine {
namespace {

constexpr std::uint32_t kRunBlocks = 16;
constexpr std::uint32_t kRuns = 2500;  // 156 MiB, with as much of holes between them
constexpr std::uint64_t kMaxLeftBytes = std::uint64_t{16} << 20;

class PageCachePolicyTest : public testing::Test {
 protected:
  void SetUp() override {
    auto directory = os::open_directory(AT_FDCWD, path_, path_);
    ASSERT_TRUE(directory) << directory.error().message;
    directory_ = std::move(*directory);
  }

  /// Block `number` of the merged layer, different from all others.
  static void fill(std::span<std::byte> block, std::uint32_t number) {
    auto words = std::span(reinterpret_cast<std::uint32_t*>(block.data()), block.size() / 4);
    std::iota(words.begin(), words.end(), number * 7919U);
  }

  /// An adopted layer with every second run of the memory.
  void write_layer() {
    const auto file = os::open_at(directory_.get(), "layer", O_RDWR | O_CREAT | O_EXCL, "layer");
    ASSERT_TRUE(file) << file.error().message;
    std::vector<mapping::Extent> changes;
    std::vector<mapping::StoredExtent> stored;
    std::vector<std::byte> run(kRunBlocks * kBlockBytes);
    for (std::uint32_t i = 0; i < kRuns; ++i) {
      const std::uint32_t guest = i * 2 * kRunBlocks;
      changes.push_back({guest, kRunBlocks, mapping::kNewLayer, guest});
      stored.push_back({guest, kRunBlocks, 0, 0});
      for (std::uint32_t block = 0; block < kRunBlocks; ++block) {
        const auto bytes = std::span(run).subspan(block * kBlockBytes, kBlockBytes);
        fill(bytes, i * kRunBlocks + block);
        checksums_.push_back(block_checksum(bytes));
      }
      ASSERT_TRUE(os::write_at(file->get(), run, guest * kBlockBytes, "layer"));
    }
    const std::uint64_t memory_bytes = kBlocks * kBlockBytes;
    ASSERT_TRUE(os::truncate(file->get(), memory_bytes, "layer"));
    const Uuid id = Uuid::random();
    auto state = mapping::overlay(mapping::Mapping::zeros(kBlocks), id, changes);
    ASSERT_TRUE(state) << state.error().message;
    mapping_ = std::move(*state);
    format::Trailer trailer = describe_layer(mapping_, id, std::move(stored),
                                             format::LayerLayout::kAdopted, memory_bytes);
    trailer.checksums = checksums_;
    ASSERT_TRUE(finish_layer(file->get(), trailer, "layer"));
    ASSERT_TRUE(os::sync(file->get(), "layer"));
    os::drop_cached(file->get(), 0, memory_bytes * 2);
    auto layer = Layer::open(directory_.get(), "layer", "layer", id, true);
    ASSERT_TRUE(layer) << layer.error().message;
    layers_.push_back(std::move(*layer));
  }

  void expect_merged() {
    ASSERT_NO_FATAL_FAILURE(write_layer());
    const auto chain = Chain::create(mapping_, std::move(layers_));
    ASSERT_TRUE(chain) << chain.error().message;
    const int source = chain->layers().front().fd();
    const auto before = os::cached_bytes(source);
    const auto plan = mapping::plan_merge(mapping_, {false, true}, Uuid::random());
    ASSERT_TRUE(plan) << plan.error().message;
    const auto file = os::open_at(directory_.get(), "merged", O_RDWR | O_CREAT | O_EXCL, path_);
    ASSERT_TRUE(file) << file.error().message;
    MergeTarget target;
    target.destination = file->get();
    target.path = path_;
    target.allow_clone = false;
    target.allow_kernel_copy = false;
    const auto merged = merge_data(*chain, plan->moves, target);
    ASSERT_TRUE(merged) << merged.error().message;
    EXPECT_EQ(merged->checksums, checksums_);

    // tmpfs files are always cached, and old kernels do not report it.
    if (before && *before < kMaxLeftBytes) {
      EXPECT_LT(*os::cached_bytes(source), kMaxLeftBytes);
      EXPECT_LT(*os::cached_bytes(file->get()), kMaxLeftBytes);
    }
    std::vector<std::byte> block(kBlockBytes);
    std::vector<std::byte> expected(kBlockBytes);
    for (std::uint32_t i = 0; i < kRuns * kRunBlocks; ++i) {
      ASSERT_TRUE(os::read_exactly_at(file->get(), block, i * kBlockBytes, path_));
      fill(expected, i);
      ASSERT_EQ(block, expected) << "block " << i;
    }
  }

  static constexpr std::uint32_t kBlocks = kRuns * 2 * kRunBlocks;
  /// Where files are on a disk unless LAMINA_TEST_DIR says otherwise.
  static std::string parent() {
    const char* given = std::getenv("LAMINA_TEST_DIR");
    return given != nullptr ? given : "/var/tmp";
  }

  tests::ScratchDirectory scratch_{parent()};
  std::string path_ = scratch_.path();
  os::Fd directory_;
  mapping::Mapping mapping_ = mapping::Mapping::zeros(kBlocks);
  std::vector<std::uint64_t> checksums_;
  std::vector<Layer> layers_;
};

TEST_F(PageCachePolicyTest, MergeOfAColdLayerIsCorrectAndLeavesLittleCached) { expect_merged(); }

}  // namespace
}  // namespace lamina::engine
