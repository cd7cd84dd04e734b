#include "remote/arriving_layer.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "base/block.h"
#include "os/file.h"
#include "packed/object_io.h"
#include "packed/random_layer.h"
#include "scratch_directory.h"

namespace lamina::remote {
namespace {

std::string contents_of_path(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

/// A random layer, packed, and the file that it arrives in.
class ArrivingLayerTest : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    random_.seed(static_cast<std::uint64_t>(GetParam()));
    const packed::RandomLayer random = packed::make_random_layer(random_, 300);
    const auto chain = packed::write_and_open(random, scratch_.path(), "original");
    packed::PackSettings settings;
    settings.frame_blocks = static_cast<std::uint32_t>(1U << (random_() % 5));
    settings.name = "a/layer";
    object_ = packed::pack(random, settings);
    auto reader = packed::open_object(
        [this](std::uint64_t offset, std::span<std::byte> into) -> Status {
          std::copy_n(object_.begin() + static_cast<std::ptrdiff_t>(offset), into.size(),
                      into.begin());
          return {};
        },
        object_.size(), {.name = "a/layer"});
    ASSERT_TRUE(reader) << reader.error().message;
    auto file = os::open_at(AT_FDCWD, path_, O_RDWR | O_CREAT | O_EXCL, path_);
    ASSERT_TRUE(file) << file.error().message;
    ASSERT_TRUE(begin_arriving_layer(*reader, file->get(), path_));
    auto layer = ArrivingLayer::create(std::move(*reader), std::move(*file), path_);
    ASSERT_TRUE(layer) << layer.error().message;
    layer_.emplace(std::move(*layer));
    for (std::uint32_t i = 0; i < layer_->reader().frame_count(); ++i) order_.push_back(i);
    std::ranges::shuffle(order_, random_);
  }

  [[nodiscard]] std::span<const std::byte> stored(std::uint32_t frame) const {
    const ByteRange range = layer_->reader().frame_range(frame);
    return std::span(object_).subspan(range.offset, range.length);
  }

  std::mt19937_64 random_;
  tests::ScratchDirectory scratch_;
  std::string path_ = scratch_.file("arriving");
  std::vector<std::byte> object_;
  std::optional<ArrivingLayer> layer_;
  std::vector<std::uint32_t> order_;
};

TEST_P(ArrivingLayerTest, FramesInAnyOrderMakeTheVeryFile) {
  for (const std::uint32_t frame : order_) {
    EXPECT_FALSE(*layer_->is_here(frame));
    EXPECT_FALSE(*layer_->finish());
    ASSERT_TRUE(layer_->place(frame, stored(frame)));
    EXPECT_TRUE(*layer_->is_here(frame));
  }
  EXPECT_TRUE(*layer_->finish());
  EXPECT_EQ(contents_of_path(path_), contents_of_path(scratch_.file("original")));
}

TEST_P(ArrivingLayerTest, WhatIsDamagedIsNotHere) {
  if (order_.empty()) return;
  const std::uint32_t frame = order_.front();
  std::vector<std::byte> damaged(stored(frame).begin(), stored(frame).end());
  damaged[random_() % damaged.size()] ^= std::byte{1};
  const Status placed = layer_->place(frame, damaged);
  ASSERT_FALSE(placed);
  EXPECT_EQ(placed.error().kind, ErrorKind::kCorrupt);
  EXPECT_FALSE(*layer_->is_here(frame)) << "nothing was written";
  ASSERT_TRUE(layer_->place(frame, stored(frame)));
  std::uint64_t offset = 0;
  const auto& extents = layer_->reader().index().extents;
  for (const auto& extent : extents) {
    if (extent.checksum_index <= layer_->reader().blocks_of(frame).first) {
      offset =
          (extent.storage_block + layer_->reader().blocks_of(frame).first - extent.checksum_index) *
          kBlockBytes;
    }
  }
  {
    std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(offset));
    const char was = static_cast<char>(file.get());
    file.seekp(static_cast<std::streamoff>(offset));
    file.put(static_cast<char>(was ^ 1));
  }
  EXPECT_FALSE(*layer_->is_here(frame));
}

TEST_P(ArrivingLayerTest, BlocksAreCheckedWithTheChecksumsInTheFile) {
  const auto open = [&] {
    return engine::Layer::open(AT_FDCWD, path_, path_, layer_->reader().index().trailer.build_id,
                               true, engine::Checksums::kInFile);
  };
  auto layer = open();
  ASSERT_TRUE(layer) << layer.error().message;
  std::vector<std::byte> block(kBlockBytes);
  for (const std::uint32_t frame : order_) {
    const auto read_first = [&] {
      Status read;
      bool is_first = true;
      layer_->for_each_guest_run(frame, [&](const BlockRun& run) {
        if (!std::exchange(is_first, false)) return;
        const auto* stored = format::find_stored(*layer->trailer(), run.first);
        read = layer->read_checked(
            {run.first, 1, 1, stored->storage_block + (run.first - stored->guest_block)}, block);
      });
      return read;
    };
    EXPECT_FALSE(read_first()) << "a hole is not a block of zeros";
    ASSERT_TRUE(layer_->place(frame, stored(frame)));
    EXPECT_TRUE(read_first());
  }
}

INSTANTIATE_TEST_SUITE_P(Random, ArrivingLayerTest, testing::Range(0, 12));

}  // namespace
}  // namespace lamina::remote
