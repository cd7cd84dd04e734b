#include "engine/block_scan.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "format/checksum.h"

namespace lamina::engine {
namespace {

constexpr std::size_t kBlock = 4096;

TEST(BlockScan, AtLeastOnePathIsSupported) {
  ASSERT_FALSE(scan_paths().empty());
  EXPECT_EQ(scan_paths().back().name, "portable");
}

TEST(BlockScan, EveryPathDetectsASingleNonZeroByte) {
  std::vector<std::byte> block(kBlock);
  for (const ScanPath& path : scan_paths()) {
    SCOPED_TRACE(path.name);
    EXPECT_TRUE(path.is_zero(block.data(), kBlock));
    for (std::size_t i = 0; i < kBlock; ++i) {
      block[i] = std::byte{0x80};
      ASSERT_FALSE(path.is_zero(block.data(), kBlock)) << i;
      block[i] = std::byte{0};
    }
  }
}

TEST(BlockScan, EveryPathComputesTheSameChecksumAsXxhash) {
  std::mt19937_64 random(7);
  std::vector<std::byte> blocks(16 * kBlock);
  for (auto& byte : blocks) byte = static_cast<std::byte>(random());
  std::fill(blocks.begin() + 3 * kBlock, blocks.begin() + 5 * kBlock, std::byte{0});
  for (const ScanPath& path : scan_paths()) {
    SCOPED_TRACE(path.name);
    std::vector<BlockScan> results(16);
    path.scan(blocks.data(), 16, results.data());
    for (std::size_t i = 0; i < 16; ++i) {
      const auto block = std::span(blocks).subspan(i * kBlock, kBlock);
      EXPECT_EQ(results[i].is_zero, i == 3 || i == 4);
      EXPECT_EQ(results[i].checksum, results[i].is_zero ? 0 : format::checksum64(block));
      EXPECT_EQ(path.checksum(block.data(), kBlock), format::checksum64(block));
    }
  }
}

}  // namespace
}  // namespace lamina::engine
