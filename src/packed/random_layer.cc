#include "packed/random_layer.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "base/block.h"
#include "engine/block_scan.h"
#include "engine/layer_writer.h"
#include "os/file.h"

namespace lamina::packed {
namespace {

Uuid random_id(std::mt19937_64& random) {
  Uuid id;
  for (std::uint8_t& byte : id.bytes) byte = static_cast<std::uint8_t>(random());
  id.bytes[0] |= 1;  // not nil
  return id;
}

void fill(std::mt19937_64& random, std::span<std::byte> block) {
  const auto kind = random() % 4;
  std::fill(block.begin(), block.end(), static_cast<std::byte>(kind == 0 ? 0 : random()));
  // Kind 1 is one byte repeated; 2 is half noise; 3 is all noise.
  if (kind < 2) return;
  const std::size_t noisy = kind == 2 ? block.size() / 2 : block.size();
  for (std::size_t i = 0; i < noisy; ++i) block[i] = static_cast<std::byte>(random());
}

}  // namespace

RandomLayer make_random_layer(std::mt19937_64& random, std::uint32_t max_blocks) {
  RandomLayer layer;
  format::Trailer& trailer = layer.trailer;
  const auto blocks = static_cast<std::uint32_t>(1 + random() % max_blocks);
  trailer.build_id = random_id(random);
  trailer.pause_id = random_id(random);
  for (auto left = random() % 4; left > 0; --left) trailer.chain.push_back(random_id(random));
  if (!trailer.chain.empty()) trailer.parent = trailer.chain.back();
  for (auto left = random() % 3; left > 0; --left) trailer.replaces.push_back(random_id(random));
  trailer.memory_bytes = blocks * kBlockBytes - random() % kBlockBytes;
  trailer.layout =
      random() % 2 == 0 ? format::LayerLayout::kCompact : format::LayerLayout::kAdopted;
  const auto longest = 1 + random() % 40;
  bool stored_before = false;
  bool zero_before = false;
  for (std::uint32_t block = 0; block < blocks;) {
    const auto count =
        static_cast<std::uint32_t>(std::min<std::uint64_t>(1 + random() % longest, blocks - block));
    const auto state = random() % 3;
    const bool stored = state == 0 && !stored_before;
    const bool zero = state == 1 && !zero_before;
    if (stored) trailer.extents.push_back({block, count, 0, 0});
    if (zero) trailer.zeros.push_back({block, count});
    stored_before = stored;
    zero_before = zero;
    block += count;
  }
  const std::uint64_t stored = format::set_positions(trailer);
  trailer.data_blocks = trailer.layout == format::LayerLayout::kCompact ? stored : blocks;
  layer.blocks.resize(stored * kBlockBytes);
  for (std::uint64_t i = 0; i < stored; ++i) {
    const auto block = std::span(layer.blocks).subspan(i * kBlockBytes, kBlockBytes);
    fill(random, block);
    trailer.checksums.push_back(engine::block_checksum(block));
  }
  return layer;
}

engine::Chain write_and_open(const RandomLayer& layer, const std::string& path,
                             const std::string& name) {
  const std::string file_path = path + "/" + name;
  auto file = os::open_at(AT_FDCWD, file_path, O_RDWR | O_CREAT | O_EXCL, file_path);
  EXPECT_TRUE(file) << file.error().message;
  std::vector<mapping::Extent> extents;
  const auto block_count = static_cast<std::uint32_t>(blocks_for(layer.trailer.memory_bytes));
  std::uint32_t end = 0;
  for (const mapping::StoredExtent& extent : layer.trailer.extents) {
    const auto data =
        std::span(layer.blocks)
            .subspan(extent.checksum_index * kBlockBytes, extent.block_count * kBlockBytes);
    EXPECT_TRUE(os::write_at(file->get(), data, extent.storage_block * kBlockBytes, file_path));
    if (extent.guest_block > end) {
      extents.push_back({end, extent.guest_block - end, mapping::kZeros, 0});
    }
    extents.push_back({extent.guest_block, extent.block_count, 1, extent.storage_block});
    end = extent.guest_end();
  }
  if (end < block_count) extents.push_back({end, block_count - end, mapping::kZeros, 0});
  EXPECT_TRUE(engine::finish_layer(file->get(), layer.trailer, file_path));
  auto opened = engine::Layer::open(AT_FDCWD, file_path, file_path, layer.trailer.build_id, true);
  EXPECT_TRUE(opened) << opened.error().message;
  auto mapping = mapping::Mapping::create(block_count, {layer.trailer.build_id}, extents);
  EXPECT_TRUE(mapping) << mapping.error().message;
  std::vector<engine::Layer> layers;
  layers.push_back(std::move(*opened));
  auto chain = engine::Chain::create(std::move(*mapping), std::move(layers));
  EXPECT_TRUE(chain) << chain.error().message;
  return std::move(*chain);
}

std::vector<std::byte> pack(const RandomLayer& layer, const PackSettings& settings) {
  std::vector<std::byte> object;
  auto writer = PackWriter::for_layer(layer.trailer, settings, [&](auto bytes) -> Status {
    object.insert(object.end(), bytes.begin(), bytes.end());
    return {};
  });
  EXPECT_TRUE(writer) << writer.error().message;
  EXPECT_TRUE(writer->add(layer.blocks));
  const auto done = writer->finish();
  EXPECT_TRUE(done) << done.error().message;
  return object;
}

DataKey key_of(std::uint8_t number) {
  std::array<std::byte, DataKey::kBytes> bytes{};
  bytes.fill(static_cast<std::byte>(number));
  return DataKey(std::span<const std::byte, DataKey::kBytes>(bytes));
}

}  // namespace lamina::packed
