#include "engine/merge_data.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "base/block.h"
#include "engine/block_scan.h"
#include "engine/layer_writer.h"
#include "mapping/overlay.h"
#include "os/directory.h"
#include "scratch_directory.h"

namespace lamina::engine {
namespace {

using Bytes = std::vector<std::byte>;
using mapping::Extent;
using mapping::kNewLayer;
using mapping::kZeros;

constexpr std::uint32_t kMemoryBlocks = 700;

/// Three layers, the youngest without checksums, with runs long enough for copy_file_range, single
/// blocks, and cleared blocks.
class MergeData : public testing::Test {
 protected:
  void SetUp() override {
    auto directory = os::open_directory(AT_FDCWD, path_, path_);
    ASSERT_TRUE(directory) << directory.error().message;
    directory_ = std::move(*directory);
    add_layer({{0, kMemoryBlocks, kNewLayer, 0}}, true);
    add_layer({{10, 1, kNewLayer, 0},
               {50, 90, kNewLayer, 1},
               {200, 1, kNewLayer, 91},
               {350, 20, kZeros, 0}},
              true);
    add_layer({{60, 3, kNewLayer, 0}, {400, 280, kNewLayer, 3}}, false);
  }

  void add_layer(const std::vector<Extent>& changes, bool with_trailer) {
    const Uuid id = Uuid::random();
    const std::string name = id.to_string();
    auto state = mapping::overlay(mapping_, id, changes);
    ASSERT_TRUE(state) << state.error().message;
    mapping_ = std::move(*state);
    Bytes data;
    std::vector<mapping::StoredExtent> stored;
    for (const Extent& change : changes) {
      const bool zero = change.layer == kZeros;
      if (!zero) stored.push_back({change.guest_block, change.block_count});
      for (std::uint32_t block = change.guest_block; block < change.guest_end(); ++block) {
        Bytes& page = memory_[block];
        page.assign(zero ? 0 : kBlockBytes, std::byte{});
        for (std::byte& byte : page) byte = static_cast<std::byte>(random_());
        data.insert(data.end(), page.begin(), page.end());
      }
    }
    const auto file = os::open_at(directory_.get(), name, O_RDWR | O_CREAT | O_EXCL, name);
    ASSERT_TRUE(file) << file.error().message;
    ASSERT_TRUE(os::write_at(file->get(), data, 0, name));
    if (with_trailer) {
      format::Trailer trailer =
          describe_layer(mapping_, id, std::move(stored), format::LayerLayout::kCompact,
                         kMemoryBlocks * kBlockBytes);
      trailer.checksums = checksums_of(data);
      ASSERT_TRUE(finish_layer(file->get(), trailer, name));
    }
    ASSERT_TRUE(os::sync(file->get(), name));
    auto layer = Layer::open(directory_.get(), name, name, id, with_trailer);
    ASSERT_TRUE(layer) << layer.error().message;
    layers_.push_back(std::move(*layer));
  }

  static std::vector<std::uint64_t> checksums_of(const Bytes& data) {
    std::vector<std::uint64_t> checksums;
    for (std::size_t offset = 0; offset < data.size(); offset += kBlockBytes) {
      checksums.push_back(block_checksum(std::span(data).subspan(offset, kBlockBytes)));
    }
    return checksums;
  }

  /// Merges all layers into a new file, which must contain the memory's data blocks in guest order.
  MergedData expect_merged(bool allow_clone, bool allow_kernel_copy) {
    Bytes expected;
    for (const Bytes& page : memory_) expected.insert(expected.end(), page.begin(), page.end());

    MergedData merged;
    [&] {
      const auto chain = Chain::create(mapping_, std::move(layers_));
      ASSERT_TRUE(chain) << chain.error().message;
      const auto plan = mapping::plan_merge(mapping_, {false, true, true, true}, Uuid::random());
      ASSERT_TRUE(plan) << plan.error().message;
      const auto file = os::open_at(directory_.get(), "merged", O_RDWR | O_CREAT | O_EXCL, path_);
      ASSERT_TRUE(file) << file.error().message;
      MergeTarget target;
      target.destination = file->get();
      target.path = path_;
      target.allow_clone = allow_clone;
      target.allow_kernel_copy = allow_kernel_copy;
      auto data = merge_data(*chain, plan->moves, target);
      ASSERT_TRUE(data) << data.error().message;
      merged = std::move(*data);

      const auto written = os::read_whole(file->get(), expected.size(), path_);
      ASSERT_TRUE(written) << written.error().message;
      ASSERT_EQ(written->size(), expected.size());
      const auto wrong = std::mismatch(written->begin(), written->end(), expected.begin());
      EXPECT_EQ(wrong.first - written->begin(), std::ssize(expected)) << "first wrong byte";
      EXPECT_EQ(merged.checksums, checksums_of(expected));
      EXPECT_EQ(merged.cloned_bytes + merged.kernel_copied_bytes + merged.read_written_bytes,
                expected.size());
      EXPECT_GE(merged.read_written_bytes, 283 * kBlockBytes) << "read for their checksums";
    }();
    return merged;
  }

  tests::ScratchDirectory scratch_;
  std::string path_ = scratch_.path();
  os::Fd directory_;
  std::mt19937 random_{1};  // NOLINT(cert-msc51-cpp,cert-msc32-c): any contents will do
  std::vector<Bytes> memory_ = std::vector<Bytes>(kMemoryBlocks);
  mapping::Mapping mapping_ = mapping::Mapping::zeros(kMemoryBlocks);
  std::vector<Layer> layers_;
};

TEST_F(MergeData, ClonesIfTheFileSystemSupportsIt) { expect_merged(true, true); }

TEST_F(MergeData, CopiesLongRunsInTheKernel) {
  const MergedData merged = expect_merged(false, true);
  EXPECT_EQ(merged.cloned_bytes, 0U);
}

TEST_F(MergeData, ReadsAndWritesIfTheKernelCannotCopy) {
  const MergedData merged = expect_merged(false, false);
  EXPECT_EQ(merged.cloned_bytes, 0U);
  EXPECT_EQ(merged.kernel_copied_bytes, 0U);
}

TEST_F(MergeData, ReadsAndWritesWithoutKernelCopy) { expect_merged(true, false); }

/// The source layers may be deleted once a merge is published, so corruption must be detected
/// first.
TEST_F(MergeData, CorruptBlockFailsTheMerge) {
  const std::string name = layers_.front().path();
  const auto file = os::open_at(directory_.get(), name, O_RDWR, name);
  ASSERT_TRUE(file) << file.error().message;
  const Bytes wrong(kBlockBytes, std::byte{0x5a});
  ASSERT_TRUE(os::write_at(file->get(), wrong, 300 * kBlockBytes, name));
  ASSERT_TRUE(os::sync(file->get(), name));
  const auto chain = Chain::create(mapping_, std::move(layers_));
  ASSERT_TRUE(chain) << chain.error().message;
  const auto plan = mapping::plan_merge(mapping_, {false, true, true, true}, Uuid::random());
  ASSERT_TRUE(plan) << plan.error().message;
  for (const bool allowed : {true, false}) {
    const std::string out = allowed ? "moved" : "gathered";
    const auto merged_file = os::open_at(directory_.get(), out, O_RDWR | O_CREAT | O_EXCL, out);
    ASSERT_TRUE(merged_file) << merged_file.error().message;
    MergeTarget target;
    target.destination = merged_file->get();
    target.path = out;
    target.allow_clone = allowed;
    target.allow_kernel_copy = allowed;
    const auto merged = merge_data(*chain, plan->moves, target);
    ASSERT_FALSE(merged) << out;
    EXPECT_EQ(merged.error().kind, ErrorKind::kCorrupt) << merged.error().message;
    EXPECT_NE(merged.error().message.find(name), std::string::npos) << merged.error().message;
  }
}

}  // namespace
}  // namespace lamina::engine
